//! Who asks, and what they may: bearer tokens, of which only hashes are known, each with a name and a role. Must not know what is asked.
use std::{fs, net::SocketAddr, path::Path};

use aide::{OperationInput, generate::GenContext, openapi};
use axum::{
    extract::{ConnectInfo, FromRequestParts, Request, State},
    http::{HeaderMap, StatusCode, Uri, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use super::{AppState, Problem, ServerSettings, WebError, describe, operations::is_health};

/// Bytes of a tokens file.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Bytes of a token.
const TOKEN_BYTES_MAX: usize = 1 << 10;

/// What a caller may do; each may do what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Look.
    Viewer,
    /// Upload plugins, run jobs.
    Operator,
    /// Delete.
    Admin,
}

impl Role {
    fn parse(text: &str) -> Option<Role> {
        [Role::Viewer, Role::Operator, Role::Admin].into_iter().find(|role| role.name() == text)
    }

    fn name(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Operator => "operator",
            Role::Admin => "admin",
        }
    }
}

/// Who asks. An extension of every request that was let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The name of the token.
    pub name: String,
    /// What the caller may do.
    pub role: Role,
}

/// A known token.
#[derive(Debug)]
struct Token {
    sha256: [u8; 32],
    caller: Caller,
}

/// Who is let in.
#[derive(Debug)]
pub(super) enum Access {
    /// Whoever is on this machine, as an admin called `local`.
    Local,
    /// Who has a token.
    Tokens(Tokens),
}

/// The known tokens.
#[derive(Debug)]
pub(super) struct Tokens(Vec<Token>);

impl Access {
    /// What the settings say. Fails rather than to let in anybody without tokens who was not meant, and other machines in any case.
    pub(super) fn of(settings: &ServerSettings) -> Result<Access, WebError> {
        match &settings.tokens {
            Some(path) => {
                let failed = |what| WebError::Tokens { path: path.clone(), what };
                Ok(Access::Tokens(Tokens::parse(&read(path).map_err(failed)?).map_err(failed)?))
            }
            None if !settings.no_auth => Err(WebError::NobodyNamed),
            None if settings.address.ip().is_loopback() => Ok(Access::Local),
            None => Err(WebError::Unprotected(settings.address)),
        }
    }

    /// Who sends these headers, to this address.
    fn caller(&self, uri: &Uri, headers: &HeaderMap) -> Result<Caller, Problem> {
        let unknown = |what: &str| Problem::new(StatusCode::UNAUTHORIZED, "R0201", "No valid token", what);
        match self {
            Access::Local if is_of_this_machine(uri, headers) => Ok(Caller { name: "local".into(), role: Role::Admin }),
            Access::Local => Err(Problem::new(
                StatusCode::FORBIDDEN,
                "R0202",
                "Not allowed",
                "without tokens, only programs of this machine are let in, under the name of this machine, and no pages of other sites",
            )),
            Access::Tokens(tokens) => {
                let header = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
                let token = header.and_then(|value| value.split_once(' '));
                let token =
                    token.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| token.trim());
                let token = token.ok_or_else(|| unknown("send the header `Authorization: Bearer TOKEN`"))?;
                tokens.caller(token).ok_or_else(|| unknown("nobody has this token"))
            }
        }
    }
}

/// Whether a request was made for this machine by its name, and not by a page that some other site has put into a browser here.
fn is_of_this_machine(uri: &Uri, headers: &HeaderMap) -> bool {
    let is_local = |host: &str| {
        let name = host.trim_matches(['[', ']']);
        name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
    };
    let is_local_in = |name: header::HeaderName| {
        headers.get_all(name).iter().all(|value| {
            let uri = value.to_str().ok().and_then(|text| text.parse::<Uri>().ok());
            uri.is_some_and(|uri| uri.host().is_some_and(is_local))
        })
    };
    uri.host().is_none_or(is_local) && is_local_in(header::HOST) && is_local_in(header::ORIGIN)
}

fn read(path: &Path) -> Result<String, String> {
    let length = fs::metadata(path).map_err(|error| error.to_string())?.len();
    if length > FILE_BYTES_MAX {
        return Err(format!("it has {length} bytes, {FILE_BYTES_MAX} are allowed"));
    }
    fs::read_to_string(path).map_err(|error| error.to_string())
}

impl Tokens {
    /// Reads lines `SHA256 NAME ROLE`; empty ones and those that begin with `#` say nothing. Fails with what is wrong.
    fn parse(text: &str) -> Result<Tokens, String> {
        let mut tokens = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let words: Vec<&str> = line.split_whitespace().collect();
            if words.first().is_none_or(|word| word.starts_with('#')) {
                continue;
            }
            let wrong = |what: &str| format!("line {number}: {what}");
            let [digest, name, role] = words[..] else {
                return Err(wrong("a line is the token's SHA-256 in hexadecimal digits, a name, and a role"));
            };
            let sha256 = digest_of(digest).ok_or_else(|| wrong("the SHA-256 of a token is 64 hexadecimal digits"))?;
            let role = Role::parse(role).ok_or_else(|| wrong("a role is `viewer`, `operator` or `admin`"))?;
            tokens.push(Token { sha256, caller: Caller { name: name.to_owned(), role } });
        }
        if tokens.is_empty() { Err("there are no tokens in it".into()) } else { Ok(Tokens(tokens)) }
    }

    /// Takes as long for every token that is no one's, and compares with all of them.
    fn caller(&self, token: &str) -> Option<Caller> {
        if token.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let sha256: [u8; 32] = Sha256::digest(token).into();
        let (mut found, mut any) = (0u64, Choice::from(0));
        for (index, known) in (0u64..).zip(&self.0) {
            let same = known.sha256.ct_eq(&sha256);
            found.conditional_assign(&index, same);
            any |= same;
        }
        let found = usize::try_from(found).ok().filter(|_| bool::from(any))?;
        self.0.get(found).map(|known| known.caller.clone())
    }
}

fn digest_of(hex: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if hex.len() != 64 || !hex.is_ascii() {
        return None;
    }
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[index * 2..index * 2 + 2], 16).ok()?;
    }
    Some(bytes)
}

/// Why nobody is known to have sent a request; an extension of those.
#[derive(Clone)]
struct Denied(Problem);

/// Finds out who asks, and holds back who asks too often.
pub(super) async fn authenticate(State(state): State<AppState>, mut request: Request, next: Next) -> Response {
    if is_health(request.uri().path()) {
        return next.run(request).await;
    }
    let caller = state.access.caller(request.uri(), request.headers());
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip().to_string());
    // Guessing tokens counts for where the guesses come from.
    let key = match &caller {
        Ok(caller) => format!("name {}", caller.name),
        Err(_) => peer.unwrap_or_default(),
    };
    if let Err(problem) = state.rate.check(key) {
        return problem.into_response();
    }
    match caller {
        Ok(caller) => drop(request.extensions_mut().insert(caller)),
        Err(problem) => drop(request.extensions_mut().insert(Denied(problem))),
    }
    next.run(request).await
}

/// The caller of a request, if it is one of this role or a higher one.
pub(super) fn allowed(parts: &Parts, role: Role) -> Result<Caller, Problem> {
    let Some(caller) = parts.extensions.get::<Caller>() else {
        let denied = parts.extensions.get::<Denied>();
        return Err(
            denied.map_or_else(|| Problem::internal("a route without authentication"), |denied| denied.0.clone())
        );
    };
    if caller.role < role {
        let detail = format!("{} is {}; this needs {}", caller.name, caller.role.name(), role.name());
        return Err(Problem::new(StatusCode::FORBIDDEN, "R0202", "Not allowed", detail));
    }
    Ok(caller.clone())
}

fn describe_role(ctx: &mut GenContext, operation: &mut openapi::Operation, role: Role) {
    operation.security.push([(describe::BEARER.to_owned(), Vec::new())].into_iter().collect());
    let responses = operation.responses.get_or_insert_with(Default::default);
    let needs = format!("The token is of a role below {}.", role.name());
    for (status, when) in [
        (401, "There is no token, or one that nobody has."),
        (403, needs.as_str()),
        (429, "The caller asks too often."),
        (503, "The server is busy; ask again later."),
    ] {
        let response = openapi::ReferenceOr::Item(describe::problem(ctx, when));
        responses.responses.insert(openapi::StatusCode::Code(status), response);
    }
}

macro_rules! roles {
    ($($(#[$doc:meta])* $role:ident)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $role(pub Caller);

        impl<S: Sync> FromRequestParts<S> for $role {
            type Rejection = Problem;

            async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
                allowed(parts, Role::$role).map($role)
            }
        }

        impl OperationInput for $role {
            fn operation_input(ctx: &mut GenContext, operation: &mut openapi::Operation) {
                describe_role(ctx, operation, Role::$role);
            }
        }
    )*};
}

roles! {
    /// A caller who may at least look. As an argument of a handler it keeps all others out.
    Viewer
    /// A caller who may at least upload plugins and run jobs. As an argument of a handler it keeps all others out.
    Operator
    /// A caller who may do everything. As an argument of a handler it keeps all others out.
    Admin
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    fn hash(token: &str) -> String {
        Sha256::digest(token).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn headers(entries: &[(HeaderName, &str)]) -> HeaderMap {
        entries.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap())).collect()
    }

    #[test]
    fn a_token_is_known_by_its_hash() {
        let text = format!("# people\n\n{} ann admin\n{} bob  viewer\n", hash("a"), hash("b").to_uppercase());
        let access = Access::Tokens(Tokens::parse(&text).unwrap());
        let uri = Uri::from_static("/");
        let caller = |value: &str| access.caller(&uri, &headers(&[(header::AUTHORIZATION, value)]));
        assert_eq!(caller("Bearer a").unwrap(), Caller { name: "ann".into(), role: Role::Admin });
        assert_eq!(caller("bearer b").unwrap(), Caller { name: "bob".into(), role: Role::Viewer });
        for wrong in ["Bearer c", "Bearer ", "Basic a", "a", &format!("Bearer {}", hash("a")), &"x".repeat(9000)] {
            assert_eq!(caller(wrong).unwrap_err().status, 401, "{wrong}");
        }
        assert_eq!(&*access.caller(&uri, &HeaderMap::new()).unwrap_err().code, "R0201");
    }

    #[test]
    fn a_wrong_tokens_file_is_named_by_line() {
        for (text, part) in [
            ("# nobody", "no tokens"),
            ("abc ann admin", "line 1: the SHA-256"),
            (&format!("\n{} ann root", hash("a")), "line 2: a role"),
            (&format!("{} ann", hash("a")), "line 1: a line is"),
        ] {
            let error = Tokens::parse(text).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn without_tokens_only_this_machine_is_let_in_and_only_if_that_is_said() {
        let settings = |address: &str, no_auth| ServerSettings {
            address: address.parse().unwrap(),
            data: "data".into(),
            tokens: None,
            no_auth,
            tls: None,
            signature_keys: Vec::new(),
            upload_bytes_max: 1,
            secrets: None,
            rate: std::num::NonZeroU32::MIN,
            crash_at_checkpoint: None,
        };
        for address in ["127.0.0.1:0", "[::1]:0", "0.0.0.0:0"] {
            assert!(matches!(Access::of(&settings(address, false)), Err(WebError::NobodyNamed)));
        }
        assert!(matches!(Access::of(&settings("127.0.0.1:0", true)), Ok(Access::Local)));
        assert!(matches!(Access::of(&settings("[::1]:0", true)), Ok(Access::Local)));
        assert!(matches!(Access::of(&settings("0.0.0.0:0", true)), Err(WebError::Unprotected(_))));
        for (host, origin, let_in) in [
            ("localhost:8080", None, true),
            ("127.0.0.1:8080", Some("http://127.0.0.1:8080"), true),
            ("[::1]:8080", None, true),
            ("evil.example", None, false),
            ("127.0.0.1.evil.example:8080", None, false),
            ("localhost:8080", Some("https://evil.example"), false),
            ("localhost:8080", Some("null"), false),
        ] {
            let mut entries = vec![(header::HOST, host)];
            entries.extend(origin.map(|origin| (header::ORIGIN, origin)));
            let uri = Uri::from_static("/");
            assert_eq!(Access::Local.caller(&uri, &headers(&entries)).is_ok(), let_in, "{host} {origin:?}");
        }
        for (uri, let_in) in [("http://127.0.0.1:8080/", true), ("http://evil.example/", false)] {
            let headers = headers(&[(header::HOST, "localhost")]);
            assert_eq!(Access::Local.caller(&Uri::from_static(uri), &headers).is_ok(), let_in, "{uri}");
        }
    }
}
