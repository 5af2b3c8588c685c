//! Pieces of the OpenAPI description that handlers share.
use aide::{
    generate::{GenContext, in_context},
    openapi::{self, MediaType, ReferenceOr, SchemaObject, StatusCode},
    transform::TransformOperation,
};
use axum::Json;
use schemars::{JsonSchema, Schema, json_schema};
use serde::Serialize;

use super::problem::{MEDIA_TYPE, Problem};

/// The name of the way to authenticate.
pub(super) const BEARER: &str = "bearer";

fn media(json_schema: Schema) -> MediaType {
    let schema = SchemaObject { json_schema, external_docs: None, example: None };
    MediaType { schema: Some(schema), ..MediaType::default() }
}

/// A response that is a problem.
pub(super) fn problem(ctx: &mut GenContext, description: &str) -> openapi::Response {
    openapi::Response {
        description: description.into(),
        content: [(MEDIA_TYPE.to_owned(), media(ctx.schema.subschema_for::<Problem>()))].into_iter().collect(),
        ..openapi::Response::default()
    }
}

/// Problems that an operation may answer, by status, and when.
pub(super) fn fails<'t>(mut operation: TransformOperation<'t>, problems: &[(u16, &str)]) -> TransformOperation<'t> {
    for (status, description) in problems {
        let response = in_context(|ctx| problem(ctx, description));
        let responses = operation.inner_mut().responses.get_or_insert_with(Default::default);
        responses.responses.insert(StatusCode::Code(*status), ReferenceOr::Item(response));
    }
    operation
}

/// A response without a body.
pub(super) fn empty<'t>(
    mut operation: TransformOperation<'t>,
    status: u16,
    description: &str,
) -> TransformOperation<'t> {
    let response = openapi::Response { description: description.into(), ..openapi::Response::default() };
    let responses = operation.inner_mut().responses.get_or_insert_with(Default::default);
    responses.responses.insert(StatusCode::Code(status), ReferenceOr::Item(response));
    operation
}

/// A response with an `ETag`, which a caller may have.
pub(super) fn tagged<'t, T: JsonSchema + Serialize>(
    operation: TransformOperation<'t>,
    description: &str,
) -> TransformOperation<'t> {
    let operation = operation.response_with::<200, Json<T>, _>(|response| response.description(description));
    let operation = header::<String>(operation, "if-none-match", "The `ETag` the caller has");
    empty(operation, 304, "It is what the caller has.")
}

/// A response whose body is bytes or text.
pub(super) fn bytes<'t>(
    mut operation: TransformOperation<'t>,
    media_type: &str,
    description: &str,
) -> TransformOperation<'t> {
    let response = openapi::Response {
        description: description.into(),
        content: [(media_type.to_owned(), media(binary()))].into_iter().collect(),
        ..openapi::Response::default()
    };
    let responses = operation.inner_mut().responses.get_or_insert_with(Default::default);
    responses.responses.insert(StatusCode::Code(200), ReferenceOr::Item(response));
    operation
}

fn binary() -> Schema {
    json_schema!({ "type": "string", "format": "binary" })
}

/// The body of an upload: a file as it is, or as a field of a form.
pub(super) fn upload_body(mut operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let form = json_schema!({
        "type": "object",
        "required": ["file"],
        "properties": { "file": { "type": "string", "format": "binary" } },
    });
    let content = [
        ("application/wasm", media(binary())),
        ("application/octet-stream", media(binary())),
        ("multipart/form-data", media(form)),
    ];
    operation.inner_mut().request_body = Some(ReferenceOr::Item(openapi::RequestBody {
        description: Some("A component.".into()),
        content: content.into_iter().map(|(name, media)| (name.to_owned(), media)).collect(),
        required: true,
        ..openapi::RequestBody::default()
    }));
    operation
}

/// The body of a submission: the text of a job, or an object that has it.
pub(super) fn job_body<T: JsonSchema>(mut operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let object = in_context(|ctx| ctx.schema.subschema_for::<T>());
    let text = json_schema!({ "type": "string" });
    let content = [("application/yaml", media(text)), ("application/json", media(object))];
    operation.inner_mut().request_body = Some(ReferenceOr::Item(openapi::RequestBody {
        description: Some("The text of a job, or an object with it and what belongs to it.".into()),
        content: content.into_iter().map(|(name, media)| (name.to_owned(), media)).collect(),
        required: true,
        ..openapi::RequestBody::default()
    }));
    operation
}

/// The body of a change by JSON merge patch, of any shape.
pub(super) fn patch_body(mut operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let content = ["application/merge-patch+json", "application/json"].map(|name| (name, media(json_schema!({}))));
    operation.inner_mut().request_body = Some(ReferenceOr::Item(openapi::RequestBody {
        description: Some("What is put in; null takes out.".into()),
        content: content.into_iter().map(|(name, media)| (name.to_owned(), media)).collect(),
        required: true,
        ..openapi::RequestBody::default()
    }));
    operation
}

/// A header that a request may have.
pub(super) fn parameter<T: JsonSchema>(ctx: &mut GenContext, name: &str, description: &str) -> openapi::Parameter {
    let json_schema = ctx.schema.subschema_for::<T>();
    let schema = SchemaObject { json_schema, external_docs: None, example: None };
    let parameter_data = openapi::ParameterData {
        name: name.into(),
        description: Some(description.into()),
        required: false,
        deprecated: None,
        format: openapi::ParameterSchemaOrContent::Schema(schema),
        example: None,
        examples: Default::default(),
        explode: None,
        extensions: Default::default(),
    };
    openapi::Parameter::Header { parameter_data, style: openapi::HeaderStyle::Simple }
}

/// A header that a request of this operation may have.
pub(super) fn header<'t, T: JsonSchema>(
    mut operation: TransformOperation<'t>,
    name: &str,
    description: &str,
) -> TransformOperation<'t> {
    let parameter = in_context(|ctx| parameter::<T>(ctx, name, description));
    operation.inner_mut().parameters.push(ReferenceOr::Item(parameter));
    operation
}
