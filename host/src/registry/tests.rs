//! The registry over its directory: what is kept, what is refused, and what a crash leaves. The component is a small one in text.
use std::{
    fs,
    future::{self, Future},
    path::Path,
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use ed25519_dalek::{Signer, SigningKey};
use sha2::{Digest, Sha256};
use wit_component::{StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use super::*;
use crate::{model::SystemClock, plugin::build::componentize};

/// A transform that says of itself that it is `fine` and a version of five characters, and passes its input's rows on.
const FINE: &str = r#"(module
  (memory (export "memory") 1)
  (data (i32.const 1024) "\90\04\00\00\04\00\00\00" "\98\04\00\00\05\00\00\00" "\a0\04\00\00\01\00\00\00")
  (data (i32.const 1168) "NAME") (data (i32.const 1176) "VERSION")
  (data (i32.const 3000) "SALT")
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 2048)
  (func (export "wasmill:operator/transform@0.1.0#describe") (result i32) i32.const 1024)
  (func (export "wasmill:operator/transform@0.1.0#configure") (param i32 i32 i32 i32 i32 i32) (result i32) CONFIGURE)
  (func (export "wasmill:operator/transform@0.1.0#process") (param i64 i64 i64 i32 i32 i32 i32 i32) (result i32) unreachable))"#;

fn component(name: &str, version: &str, salt: &str, configure: &str) -> Vec<u8> {
    let text = FINE.replace("NAME", name).replace("VERSION", version).replace("SALT", salt);
    let mut module = wat::parse_str(text.replace("CONFIGURE", configure)).unwrap();
    let mut resolve = Resolve::default();
    let contract = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit");
    let (package, _) = resolve.push_dir(contract).unwrap();
    let world = resolve.select_world(&[package], Some("transform-operator")).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    componentize(&module).unwrap().into_owned()
}

fn fine(version: &str, salt: &str) -> Vec<u8> {
    component("fine", version, salt, "i32.const 4096")
}

fn open(directory: &Path, policy: Policy) -> Result<Registry, RegistryError> {
    Registry::open(directory, PluginEngine::new(None).unwrap(), policy, Arc::new(SystemClock::new()))
}

async fn push(registry: &Registry, bytes: &[u8], signature: Option<&str>) -> Result<Pushed, RegistryError> {
    let mut upload = registry.begin().await?;
    for chunk in bytes.chunks(1000) {
        upload.write(chunk).await?;
    }
    registry.push(upload, signature, "ann").await
}

struct Used(&'static str);

impl InUse for Used {
    fn user(&self, _digest: &str) -> Option<String> {
        Some(self.0.into())
    }
}

fn files(folder: &Path) -> usize {
    folder.read_dir().unwrap().count()
}

#[tokio::test]
async fn a_version_never_changes_and_lasts() {
    let directory = tempfile::tempdir().unwrap();
    let registry = open(directory.path(), Policy::default()).unwrap();
    let first = push(&registry, &fine("1.0.0", "a"), None).await.unwrap();
    assert!(first.created);
    let again = push(&registry, &fine("1.0.0", "a"), None).await.unwrap();
    assert_eq!((again.created, &again.record), (false, &first.record));
    let other = push(&registry, &fine("1.0.0", "b"), None).await;
    assert!(matches!(other, Err(RegistryError::Conflict { digest, .. }) if digest == first.record.digest));
    for version in ["1.0.9", "0.9.0", "1.10."] {
        let _ = push(&registry, &fine(version, "a"), None).await;
    }
    drop(registry);

    let registry = open(directory.path(), Policy::default()).unwrap();
    let names: Vec<String> = registry.list(Some("fine"), None, 10).iter().map(Record::to_string).collect();
    assert_eq!(names, ["fine@0.9.0", "fine@1.0.0", "fine@1.0.9"]);
    assert_eq!(fs::read(registry.blob(&first.record.digest)).unwrap(), fine("1.0.0", "a"));
    let after = Version::parse("0.9.0").unwrap();
    let rest = registry.list(None, Some(("fine", &after)), 1);
    assert_eq!(rest.iter().map(Record::to_string).collect::<Vec<_>>(), ["fine@1.0.0"]);
    assert_eq!(files(&directory.path().join("uploads")), 0);
}

#[tokio::test]
async fn jobs_get_plugins_by_name_and_digest_but_no_files() {
    let directory = tempfile::tempdir().unwrap();
    let registry = open(directory.path(), Policy::default()).unwrap();
    let record = push(&registry, &fine("1.0.0", "a"), None).await.unwrap().record;
    let by_name = PluginRef::uploaded("fine@1.0.0").unwrap();
    let plugin = registry.load(&by_name).unwrap();
    assert_eq!(plugin.descriptions()[0].name, "fine");
    let by_digest = registry.load(&PluginRef::uploaded(&format!("sha256:{}", record.digest)).unwrap()).unwrap();
    assert!(Arc::ptr_eq(&plugin, &by_digest));
    for reference in [PluginRef::Path("fine.wasm".into()), PluginRef::uploaded("fine@2.0.0").unwrap()] {
        let error = registry.load(&reference).err().unwrap().to_string();
        assert!(error.starts_with("[P0208]"), "{error}");
    }
}

#[tokio::test]
async fn what_is_needed_is_not_deleted() {
    let directory = tempfile::tempdir().unwrap();
    let registry = open(directory.path(), Policy::default()).unwrap();
    push(&registry, &fine("1.0.0", "a"), None).await.unwrap();
    let error = registry.delete("fine", "1.0.0", &Used("job fraud")).unwrap_err();
    assert!(matches!(&error, RegistryError::InUse { user, .. } if user == "job fraud"), "{error}");
    registry.delete("fine", "1.0.0", &NotInUse).unwrap();
    assert!(matches!(registry.delete("fine", "1.0.0", &NotInUse), Err(RegistryError::Unknown(_))));
    for folder in ["blobs", "plugins", "uploads"] {
        assert_eq!(files(&directory.path().join(folder)), 0, "{folder}");
    }
}

/// Time is up at once, whatever it is.
struct Over(SystemClock);

impl Clock for Over {
    fn now_ms(&self) -> i64 {
        self.0.now_ms()
    }

    fn monotonic(&self) -> Duration {
        self.0.monotonic()
    }

    fn sleep_until(&self, _deadline: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(future::ready(()))
    }
}

#[tokio::test]
async fn waiting_for_other_uploads_is_no_fault_of_an_upload() {
    let directory = tempfile::tempdir().unwrap();
    let engine = PluginEngine::new(None).unwrap();
    let registry =
        Registry::open(directory.path(), engine, Policy::default(), Arc::new(Over(SystemClock::new()))).unwrap();
    let other = registry.inner.compiling.clone().acquire_owned().await.unwrap();
    assert!(matches!(push(&registry, &fine("1.0.0", "a"), None).await, Err(RegistryError::Busy)));
    drop(other);
    assert!(matches!(push(&registry, &fine("1.0.0", "a"), None).await, Err(RegistryError::TimedOut(_))));
}

#[tokio::test]
async fn what_was_compiled_goes_with_the_plugin_and_altered_files_are_not_run() {
    let directory = tempfile::tempdir().unwrap();
    let compiled = directory.path().join("compiled");
    let engine = PluginEngine::new(Some(compiled.clone())).unwrap();
    let clock = Arc::new(SystemClock::new());
    let registry = Registry::open(directory.path(), engine, Policy::default(), clock).unwrap();
    let mut digests = Vec::new();
    for version in ["1.0.0", "1.0.1"] {
        digests.push(push(&registry, &fine(version, "a"), None).await.unwrap().record.digest);
        registry.load(&PluginRef::uploaded(&format!("fine@{version}")).unwrap()).unwrap();
    }
    assert_eq!(files(&compiled), 2);
    registry.delete("fine", "1.0.0", &NotInUse).unwrap();
    let left = compiled.read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(left.map(|name| name[..64].to_owned()).eq([digests[1].clone()]));

    let blob = registry.blob(&digests[1]);
    let mut bytes = fs::read(&blob).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&blob, &bytes).unwrap();
    let error = registry.load(&PluginRef::uploaded("fine@1.0.1").unwrap()).err().unwrap().to_string();
    assert!(error.starts_with("[P0209]") && error.contains(&digests[1]), "{error}");
}

#[tokio::test]
async fn what_could_not_be_read_again_is_not_kept() {
    let directory = tempfile::tempdir().unwrap();
    let registry = open(directory.path(), Policy::default()).unwrap();
    let mut record = push(&registry, &fine("1.0.0", "a"), None).await.unwrap().record;
    record.version = "1.0.1".into();
    // Two characters each in the record.
    let operators =
        |bytes: usize| vec![OperatorRecord { kind: "transform".into(), configuration: "\n".repeat(bytes) }; 9];
    for (bytes, kept) in [(256 << 10, false), (200 << 10, true)] {
        record.operators = operators(bytes);
        record.digest = format!("{bytes:064x}");
        let mut upload = registry.begin().await.unwrap();
        upload.write(&vec![0; record.size as usize]).await.unwrap();
        let result = registry.inner.keep(record.clone(), upload.finish().await.unwrap());
        assert_eq!(result.is_ok(), kept);
        assert!(kept || matches!(result, Err(RegistryError::Record { .. })));
        assert_eq!(registry.blob(&record.digest).exists(), kept);
        drop(open(directory.path(), Policy::default()).unwrap_or_else(|error| panic!("{error}")));
    }
    assert_eq!(registry.get("fine", "1.0.1").unwrap().operators, record.operators);
    assert!(registry.list(None, None, 10).iter().all(|record| record.schema_bytes() == 0));

    // And not more than memory has room for.
    record.operators[0].configuration = "x".repeat(SCHEMAS_BYTES_MAX);
    registry.inner.index.write().unwrap().get_mut("fine").unwrap().insert(Version::new(1, 0, 2), record);
    assert!(matches!(push(&registry, &fine("1.0.3", "a"), None).await, Err(RegistryError::Full)));
}

#[tokio::test]
async fn what_a_crash_left_is_removed_and_damage_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let record =
        push(&open(directory.path(), Policy::default()).unwrap(), &fine("1.0.0", "a"), None).await.unwrap().record;
    fs::write(path("uploads/.tmp1"), "half").unwrap();
    fs::write(path(&format!("blobs/{}.wasm", "0".repeat(64))), "of no record").unwrap();
    fs::create_dir(path("plugins/empty")).unwrap();
    let registry = open(directory.path(), Policy::default()).unwrap();
    assert_eq!((files(&path("uploads")), files(&path("blobs"))), (0, 1));
    assert_eq!(registry.get("fine", "1.0.0").unwrap(), record);
    drop(registry);

    let blob = path(&format!("blobs/{}.wasm", record.digest));
    let whole = fs::read(&blob).unwrap();
    fs::write(&blob, &whole[1..]).unwrap();
    assert!(matches!(open(directory.path(), Policy::default()), Err(RegistryError::Damaged { .. })));
    fs::write(&blob, &whole).unwrap();
    fs::write(path("plugins/fine/1.0.0.json"), "{").unwrap();
    assert!(matches!(open(directory.path(), Policy::default()), Err(RegistryError::Damaged { .. })));
}

#[tokio::test]
async fn signatures_are_checked_before_anything_else() {
    let directory = tempfile::tempdir().unwrap();
    let [key, other] = [1, 2].map(|seed| SigningKey::from_bytes(&[seed; 32]));
    let public = PublicKey::parse(&BASE64_STANDARD.encode(key.verifying_key().as_bytes())).unwrap();
    let policy = Policy { keys: vec![public], ..Policy::default() };
    let registry = open(directory.path(), policy).unwrap();
    let sign = |key: &SigningKey, bytes: &[u8]| BASE64_STANDARD.encode(key.sign(&Sha256::digest(bytes)).to_bytes());
    let bytes = fine("1.0.0", "a");
    let wrong = [None, Some(sign(&other, &bytes)), Some(sign(&key, b"other bytes")), Some("?".repeat(1 << 20))];
    for signature in wrong {
        for bytes in [&bytes[..], b"not wasm at all"] {
            let error = push(&registry, bytes, signature.as_deref()).await.unwrap_err();
            assert!(matches!(error, RegistryError::Signature(_)), "{error}");
        }
    }
    let pushed = push(&registry, &bytes, Some(&sign(&key, &bytes))).await.unwrap();
    assert_eq!(pushed.record.signed_by, Some(BASE64_STANDARD.encode(key.verifying_key().as_bytes())));
}

#[tokio::test]
async fn what_misbehaves_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let registry = open(directory.path(), Policy { upload_bytes_max: 32 << 10, ..Policy::default() }).unwrap();
    let refused = async |bytes: &[u8]| push(&registry, bytes, None).await.unwrap_err().to_string();
    let traps = refused(&component("fine", "1.0.0", "a", "unreachable")).await;
    assert!(traps.starts_with("[P0205]"), "{traps}");
    let loops = refused(&component("fine", "1.0.0", "a", "(loop (br 0)) unreachable")).await;
    assert!(loops.starts_with("[P0205]"), "{loops}");
    let name = refused(&component("Fine", "1.0.0", "a", "i32.const 4096")).await;
    assert!(name.starts_with("[R0111]"), "{name}");
    let large = refused(&[0; 33 << 10]).await;
    assert!(large.starts_with("[R0101]"), "{large}");
    assert!(registry.list(None, None, 10).is_empty());
    assert_eq!(files(&directory.path().join("uploads")), 0);
}
