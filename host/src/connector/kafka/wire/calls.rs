//! The calls that are made, with the versions of them that are understood here.
use kafka_protocol::{
    messages::{
        ApiKey, ApiVersionsRequest, ApiVersionsResponse, DescribeConfigsRequest, DescribeConfigsResponse,
        DescribeTransactionsRequest, DescribeTransactionsResponse, EndTxnRequest, EndTxnResponse,
        FindCoordinatorRequest, FindCoordinatorResponse, InitProducerIdRequest, InitProducerIdResponse,
        ListTransactionsRequest, ListTransactionsResponse, MetadataRequest, MetadataResponse, SaslAuthenticateRequest,
        SaslAuthenticateResponse, SaslHandshakeRequest, SaslHandshakeResponse,
    },
    protocol::{Decodable, Encodable, HeaderVersion},
};

/// A request and what answers it.
pub trait Call: Encodable + HeaderVersion + Send + Sync {
    /// Which.
    const KEY: ApiKey;
    /// The oldest and newest version spoken.
    const VERSIONS: (i16, i16);
    /// What comes back.
    type Answer: Decodable + HeaderVersion + Send;
}

macro_rules! calls {
    ($($key:ident $oldest:literal..=$newest:literal: $request:ty => $answer:ty;)*) => {
        $(impl Call for $request {
            const KEY: ApiKey = ApiKey::$key;
            const VERSIONS: (i16, i16) = ($oldest, $newest);
            type Answer = $answer;
        })*
    };
}

calls! {
    // Every broker answers version 0.
    ApiVersions 0..=0: ApiVersionsRequest => ApiVersionsResponse;
    SaslHandshake 1..=1: SaslHandshakeRequest => SaslHandshakeResponse;
    SaslAuthenticate 0..=2: SaslAuthenticateRequest => SaslAuthenticateResponse;
    Metadata 8..=10: MetadataRequest => MetadataResponse;
    // From 4 on, several keys are asked for at once.
    FindCoordinator 1..=3: FindCoordinatorRequest => FindCoordinatorResponse;
    DescribeConfigs 1..=4: DescribeConfigsRequest => DescribeConfigsResponse;
    DescribeTransactions 0..=0: DescribeTransactionsRequest => DescribeTransactionsResponse;
    ListTransactions 0..=1: ListTransactionsRequest => ListTransactionsResponse;
    InitProducerId 2..=4: InitProducerIdRequest => InitProducerIdResponse;
    // From 5 on a transaction ends in another way than librdkafka has begun it.
    EndTxn 1..=4: EndTxnRequest => EndTxnResponse;
}
