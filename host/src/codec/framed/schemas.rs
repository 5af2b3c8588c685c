//! Schemas by their ids: what a registry is asked, and what of it is kept. Guarantees that an id is asked for again only if the registry
//! did not know it, and that what is kept is bounded. Must not know how a registry is asked.
use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    sync::Arc,
};

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, stream};

use super::frame;
use crate::{
    codec::PrepareError,
    model::{RawBatch, Schema},
};

/// Bytes of a schema with all it refers to.
pub const SCHEMA_BYTES_MAX: usize = 1 << 20;

/// Schemas that one refers to, directly or not.
pub const SCHEMA_REFERENCES_MAX: usize = 64;

/// Schemas kept ready for use beside those of the batch at hand.
const SCHEMAS_KEPT_MAX: usize = 256;

/// Schemas asked for at a time.
const LOOKUPS_CONCURRENT_MAX: usize = 8;

const FAILED: &str = "C0420";
const UNKNOWN: &str = "C0421";
const UNREADABLE: &str = "C0422";

/// A registry that does not answer, or not as one does. `place` is its address.
pub fn registry_failed(place: impl Into<String>, what: impl Into<String>, retry: bool) -> PrepareError {
    PrepareError { place: place.into(), what: what.into(), retry, code: FAILED }
}

/// The kinds of schema that registries have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchemaKind {
    /// Avro.
    Avro,
    /// JSON Schema.
    Json,
    /// Protobuf.
    Protobuf,
}

impl SchemaKind {
    /// By the name that registries have for it.
    pub fn named(name: &str) -> Option<SchemaKind> {
        [SchemaKind::Avro, SchemaKind::Json, SchemaKind::Protobuf].into_iter().find(|kind| kind.to_string() == name)
    }
}

impl fmt::Display for SchemaKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SchemaKind::Avro => "AVRO",
            SchemaKind::Json => "JSON",
            SchemaKind::Protobuf => "PROTOBUF",
        })
    }
}

/// A schema as a registry has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisteredSchema {
    /// What it is written in.
    pub kind: SchemaKind,
    /// Its text.
    pub text: String,
    /// All schemas it refers to, directly or not, each once.
    pub references: Vec<ReferencedSchema>,
}

/// A schema that another refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReferencedSchema {
    /// What the other calls it: for Protobuf the path it imports.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// What a registry says of an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// The schema, for good.
    Found(RegisteredSchema),
    /// It does not know the id.
    Unknown,
    /// There is something, but nothing that can be used. Why.
    Unreadable(String),
}

/// A registry, or what stands for one.
#[async_trait]
pub trait SchemaSource: Send + Sync {
    /// The schema of an id. Fails if the registry cannot be asked.
    async fn schema(&self, id: u32) -> Result<Lookup, PrepareError>;
}

/// Knows no schema: for formats without a registry, and to see whether a format fits columns.
#[derive(Debug)]
pub struct NoSchemas;

impl NoSchemas {
    /// One to be handed around.
    pub fn shared() -> Arc<dyn SchemaSource> {
        Arc::new(NoSchemas)
    }
}

#[async_trait]
impl SchemaSource for NoSchemas {
    async fn schema(&self, _id: u32) -> Result<Lookup, PrepareError> {
        Ok(Lookup::Unknown)
    }
}

/// Payloads of one kind.
pub trait Payload: Send + Sync {
    /// What their schemas are written in.
    const KIND: SchemaKind;
    /// A schema, ready for use.
    type Compiled: Send + Sync;
    /// Makes a schema ready to fill `columns`; says why it cannot be.
    fn compile(&self, schema: &RegisteredSchema, columns: &Schema) -> Result<Self::Compiled, String>;
}

struct Known<C> {
    schema: Result<C, String>,
    /// Whether the registry did not know it, and may later.
    unknown: bool,
    /// The batch that last had it.
    used: u64,
}

/// The schemas of a decoder.
pub struct Schemas<P: Payload> {
    source: Arc<dyn SchemaSource>,
    columns: Schema,
    known: HashMap<u32, Known<P::Compiled>>,
    batch: u64,
}

impl<P: Payload> Schemas<P> {
    pub fn new(source: &Arc<dyn SchemaSource>, columns: &Schema) -> Schemas<P> {
        Schemas { source: source.clone(), columns: columns.clone(), known: HashMap::new(), batch: 0 }
    }

    /// Has all schemas of a batch, or why not.
    pub async fn prepare(&mut self, payload: &P, raw: &RawBatch) -> Result<(), PrepareError> {
        self.batch += 1;
        self.known.retain(|_, known| !known.unknown);
        let (mut missing, mut last) = (BTreeSet::new(), None);
        for id in (0..raw.len()).filter_map(|record| Some(frame::split(raw.record(record)).ok()?.0)) {
            if last.replace(id) == Some(id) {
                continue;
            }
            match self.known.get_mut(&id) {
                Some(known) => known.used = self.batch,
                None => drop(missing.insert(id)),
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let source = &self.source;
        let found: Vec<(u32, Lookup)> = stream::iter(missing)
            .map(|id| async move { Ok((id, source.schema(id).await?)) })
            .buffer_unordered(LOOKUPS_CONCURRENT_MAX)
            .try_collect()
            .await?;
        for (id, lookup) in found {
            let unknown = lookup == Lookup::Unknown;
            let schema = self.ready(payload, id, lookup);
            self.known.insert(id, Known { schema, unknown, used: self.batch });
        }
        self.forget();
        Ok(())
    }

    fn ready(&self, payload: &P, id: u32, lookup: Lookup) -> Result<P::Compiled, String> {
        let unreadable = |what: String| format!("[{UNREADABLE}] schema {id} cannot be used: {what}");
        match lookup {
            Lookup::Unknown => Err(format!("[{UNKNOWN}] the registry has no schema {id}")),
            Lookup::Unreadable(what) => Err(unreadable(what)),
            Lookup::Found(schema) if schema.kind != P::KIND => {
                Err(unreadable(format!("it is {}, not {}", schema.kind, P::KIND)))
            }
            Lookup::Found(schema) => payload.compile(&schema, &self.columns).map_err(unreadable),
        }
    }

    /// Makes room by what was not used for longest; what this batch has stays.
    fn forget(&mut self) {
        let surplus = self.known.len().saturating_sub(SCHEMAS_KEPT_MAX);
        let mut old: Vec<(u64, u32)> = self.known.iter().map(|(id, known)| (known.used, *id)).collect();
        old.retain(|(used, _)| *used < self.batch);
        old.sort_unstable();
        for (_, id) in old.into_iter().take(surplus) {
            self.known.remove(&id);
        }
    }

    /// The schema of an id that was in the batch prepared last; or why there is none.
    pub fn get(&self, id: u32) -> Result<&P::Compiled, String> {
        match self.known.get(&id) {
            Some(known) => known.schema.as_ref().map_err(Clone::clone),
            None => Err(format!("[{UNKNOWN}] schema {id} was not looked for")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::model::{Field, Kind};

    /// Says what it was asked; knows even ids.
    #[derive(Default)]
    struct Even(Mutex<Vec<u32>>);

    #[async_trait]
    impl SchemaSource for Even {
        async fn schema(&self, id: u32) -> Result<Lookup, PrepareError> {
            self.0.lock().unwrap().push(id);
            let kind = if id == 4 { SchemaKind::Json } else { SchemaKind::Avro };
            Ok(match id % 2 {
                0 => Lookup::Found(RegisteredSchema { kind, text: id.to_string(), references: Vec::new() }),
                _ => Lookup::Unknown,
            })
        }
    }

    struct Text;

    impl Payload for Text {
        const KIND: SchemaKind = SchemaKind::Avro;
        type Compiled = String;

        fn compile(&self, schema: &RegisteredSchema, _columns: &Schema) -> Result<String, String> {
            Ok(schema.text.clone())
        }
    }

    fn batch(ids: impl IntoIterator<Item = u32>) -> RawBatch {
        let mut raw = RawBatch::default();
        for id in ids {
            raw.data.push(0);
            raw.data.extend_from_slice(&id.to_be_bytes());
            raw.ends.push(raw.data.len() as u32);
        }
        raw
    }

    #[tokio::test]
    async fn an_id_is_asked_for_once_unless_it_is_unknown() {
        let even = Arc::new(Even::default());
        let columns = Schema::new([Field::new("a", Kind::Utf8)]).unwrap();
        let mut schemas = Schemas::<Text>::new(&(even.clone() as Arc<dyn SchemaSource>), &columns);
        let asked = || {
            let mut asked = std::mem::take(&mut *even.0.lock().unwrap());
            asked.sort_unstable();
            asked
        };
        schemas.prepare(&Text, &batch([2, 3, 2, 4, 3])).await.unwrap();
        assert_eq!(asked(), [2, 3, 4]);
        assert_eq!(schemas.get(2).unwrap(), "2");
        assert_eq!(schemas.get(3).unwrap_err(), "[C0421] the registry has no schema 3");
        assert_eq!(schemas.get(4).unwrap_err(), "[C0422] schema 4 cannot be used: it is JSON, not AVRO");
        schemas.prepare(&Text, &batch([2, 3, 4])).await.unwrap();
        assert_eq!(asked(), [3]);
        // More than are kept: all of a batch are there, and of the earlier ones the latest stay.
        let many = (SCHEMAS_KEPT_MAX as u32 - 1) * 2;
        schemas.prepare(&Text, &batch([6])).await.unwrap();
        schemas.prepare(&Text, &batch((1000..1000 + many).step_by(2))).await.unwrap();
        assert_eq!(asked().len(), 1 + many as usize / 2);
        schemas.prepare(&Text, &batch([6, 2])).await.unwrap();
        assert_eq!(asked(), [2]);
    }
}
