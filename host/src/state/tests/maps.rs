//! Reads of maps that ask for more than is read at once: pages end early, and what cannot be cut is refused. On both backends.
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, Int64Array, StringArray, cast::AsArray, types::Int64Type};

use super::{migrate::touch, model::settings, oracle::MAP};
use crate::{
    model::{MapReader, StateChange},
    state::{
        KeyedStore, Layout, StateBackend,
        maps::{PAGE_BYTES, READ_BYTES_MAX},
    },
};

fn check(backend: &StateBackend) {
    let mut store = KeyedStore::open(backend, settings(Layout::Keys, 0, 1, 1), Vec::new()).expect("opens");
    let touched = touch(&mut store, &[7]);
    let large = "x".repeat(PAGE_BYTES / 2);
    let map_keys: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
    let values: ArrayRef = Arc::new(StringArray::from(vec![&large, &large, ""]));
    let put = StateChange::PutEntries { state: MAP, keys: vec![0; 3], map_keys, values };
    store.apply(&touched, &[put], 0).expect("applied");

    let mut maps = store.maps(&touched, 0);
    let first = maps.scan(MAP, 0, None, 5).expect("a page");
    assert_eq!(first.map_keys.as_primitive::<Int64Type>().values()[..], [1, 2]);
    let last = maps.scan(MAP, 0, first.next.as_deref(), 5).expect("a page");
    assert_eq!((&last.map_keys.as_primitive::<Int64Type>().values()[..], last.next), (&[3][..], None));

    let times = READ_BYTES_MAX / large.len() + 1;
    let mut get = |key: i64| {
        let map_keys: ArrayRef = Arc::new(Int64Array::from(vec![key; times]));
        maps.get(MAP, &vec![0; times], &map_keys).map(|values| values.len())
    };
    assert_eq!(get(1), Err("more than 268435456 bytes of a map's values were asked for at once".to_owned()));
    assert_eq!(get(3), Ok(times));
}

#[test]
fn no_read_is_larger_than_it_may_be() {
    check(&StateBackend::memory());
    #[cfg(feature = "rocksdb")]
    {
        let folder = tempfile::tempdir().expect("a folder");
        check(&super::random::rocksdb(folder.path()));
    }
}
