//! Both stores keep what is put, refuse names that lead elsewhere, and notice damage.
use std::fs;

use super::*;

#[test]
fn what_is_put_is_listed_read_and_deleted() {
    let directory = tempfile::tempdir().unwrap();
    let source = directory.path().join("source");
    fs::write(&source, "from a file").unwrap();
    for store in stores(&directory) {
        let put = |name: &str, content| block_on(store.put(name, content)).unwrap();
        put("b/2", Blob::Bytes(Bytes::from_static(b"old")));
        put("b/2", Blob::Bytes(Bytes::from_static(b"bytes")));
        // Twice the same file: both names are links to it.
        let file = put("b/1/x", Blob::File(source.clone()));
        assert_eq!(put("b/1/x", Blob::File(source.clone())), file);
        put("c", Blob::Bytes(Bytes::new()));
        assert_eq!(block_on(store.get("b/1/x")).unwrap(), "from a file");
        assert_eq!(block_on(store.get("b/2")).unwrap(), "bytes");
        assert_eq!((file.bytes, block_on(store.length("b/1/x"))), (11, Ok(11)));
        assert_eq!(file.checksum, xxhash_rust::xxh3::xxh3_128(b"from a file"));
        assert!(block_on(store.fetch(&file)).is_ok());
        for (prefix, names) in
            [("", &["b/1/x", "b/2", "c"][..]), ("b/", &["b/1/x", "b/2"]), ("b/1", &["b/1/x"]), ("d/", &[])]
        {
            assert_eq!(block_on(store.list(prefix)).unwrap(), names, "{prefix}");
        }
        for _ in 0..2 {
            assert_eq!(block_on(store.delete("b/1/x")), Ok(()));
        }
        assert_eq!(block_on(store.get("b/1/x")), Err(StoreError::Missing("b/1/x".into())));
        assert_eq!(block_on(store.fetch(&file)).err(), Some(StoreError::Missing("b/1/x".into())));
        let create = |content| block_on(store.create("b/1/y", Blob::Bytes(Bytes::from_static(content))));
        assert_eq!((create(b"first"), create(b"second")), (Ok(true), Ok(false)));
        assert_eq!(block_on(store.get("b/1/y")).unwrap(), "first");
        assert_eq!(block_on(store.list("b/1")).unwrap(), ["b/1/y"]);
        block_on(store.delete("b/1/y")).unwrap();
        // Where its directory was, there is room again.
        put("b/1", Blob::Bytes(Bytes::new()));
    }
    assert_eq!(fs::read_to_string(source).unwrap(), "from a file");
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    for store in stores(&directory) {
        for name in ["", "/etc/x", "../x", "a/../x", "a//b", "a/", ".hidden", "a b", "ä", &"x".repeat(1025)] {
            let put = block_on(store.put(name, Blob::Bytes(Bytes::new())));
            assert!(matches!(put, Err(StoreError::Io { .. })), "{name}");
            assert!(block_on(store.get(name)).is_err() && block_on(store.delete(name)).is_err(), "{name}");
        }
        assert!(block_on(store.list("../")).is_err());
    }
}

#[test]
fn damage_to_a_file_is_noticed_and_what_was_left_unfinished_is_no_blob() {
    let directory = tempfile::tempdir().unwrap();
    let store = LocalStore::open(directory.path()).unwrap();
    let blob = block_on(store.put("a/b", Blob::Bytes(Bytes::from_static(b"content")))).unwrap();
    let unfinished = directory.path().join("a/.unfinished-x");
    fs::write(&unfinished, "half").unwrap();
    assert_eq!(block_on(store.list("")).unwrap(), ["a/b"]);
    assert_eq!(block_on(store.remove_unfinished()), Ok(1));
    assert!(!unfinished.exists());
    for spoilt in ["Content", "conten"] {
        fs::write(directory.path().join("a/b"), spoilt).unwrap();
        assert!(matches!(block_on(store.fetch(&blob)), Err(StoreError::Damaged { .. })), "{spoilt}");
    }
}

#[test]
fn writing_and_deleting_side_by_side_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let store = LocalStore::open(directory.path()).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async {
        let tasks: Vec<_> = (0..4)
            .map(|task| {
                let store = store.clone();
                tokio::spawn(async move {
                    for round in 0..25 {
                        // All in one directory, which comes and goes.
                        let name = format!("d/e/{task}");
                        store.put(&name, Blob::Bytes(Bytes::from_static(b"x"))).await.unwrap();
                        assert_eq!(store.length(&name).await, Ok(1));
                        if round < 24 {
                            store.delete(&name).await.unwrap();
                        }
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(store.list("").await.unwrap().len(), 4);
    });
}
