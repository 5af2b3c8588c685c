//! A manifest's bytes are those of `docs/formats/manifest.md`, and no bytes bring its reader down.
use super::{super::encoding, *};

/// The example of `docs/formats/manifest.md`.
const EXAMPLE: &str = include_str!("../../../../docs/formats/manifest.md");

fn sample() -> Manifest {
    let store = MemoryStore::default();
    let manifest = first(&store);
    block_on(publish(&store, second(), &known(&manifest))).unwrap()
}

#[test]
fn a_manifest_is_read_as_it_was_written() {
    let mut manifest = sample();
    manifest.kind = SnapshotKind::Savepoint;
    manifest.finished = true;
    let rule = RuleVersion { added: 4, removed: true, settings: "{}".into() };
    manifest.versions.push(OperatorVersion {
        uid: "rules:large".into(),
        rule: Some(rule),
        ..manifest.versions[0].clone()
    });
    manifest.nodes[0].subtasks[0].stores[0].format = StoreFormat::RocksDb;
    for redistribution in [Redistribution::Split, Redistribution::Union, Redistribution::Broadcast] {
        manifest.nodes[0].subtasks[0].operator_states[0].redistribution = redistribution;
        let bytes = encoding::encode("m", &manifest).unwrap();
        assert_eq!(encoding::decode("m", &bytes), Ok(manifest.clone()));
    }
}

#[test]
fn the_bytes_are_those_of_the_documented_example() {
    let store = MemoryStore::default();
    let draft = draft(7, vec![part("x", Some("abc"))]);
    let manifest = block_on(publish(&store, draft, &BTreeMap::new())).unwrap();
    let bytes = encoding::encode("m", &manifest).unwrap();
    let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let documented = EXAMPLE.split("```hex\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap_or_default();
    let documented: Vec<&str> =
        documented.lines().flat_map(|line| line.split('#').next().unwrap().split_whitespace()).collect();
    assert_eq!(documented, hex, "{}", hex.join(" "));
}

#[test]
fn a_later_version_is_told_from_damage() {
    let mut bytes = encoding::encode("m", &sample()).unwrap();
    bytes[8] = 4;
    reseal(&mut bytes);
    let refused = StoreError::Version { name: "m".into(), found: 4, supported: 3 };
    assert_eq!(encoding::decode("m", &bytes), Err(refused));
}

#[test]
fn the_versions_before_are_read() {
    let mut manifest = sample();
    manifest.versions[0].canary = None;
    // Payloads before were that of today without lists at its end: of canaries and rules, and before them of versions.
    for (version, lists) in [(2, 2), (1, 3)] {
        if version == 1 {
            manifest.versions.clear();
        }
        let mut bytes = encoding::encode("m", &manifest).unwrap();
        let end = bytes.len() - 16;
        bytes.drain(end - lists..end);
        bytes[8] = version;
        let length = (bytes.len() - 34) as u64;
        bytes[10..18].copy_from_slice(&length.to_le_bytes());
        reseal(&mut bytes);
        assert_eq!(encoding::decode("m", &bytes), Ok(manifest.clone()), "version {version}");
    }
}

/// Makes the checksum right again.
fn reseal(bytes: &mut [u8]) {
    let end = bytes.len() - 16;
    let checksum = xxhash_rust::xxh3::xxh3_128(&bytes[..end]);
    bytes[end..].copy_from_slice(&checksum.to_le_bytes());
}

#[test]
fn any_bytes_are_read_or_refused() {
    let whole = encoding::encode("m", &sample()).unwrap();
    for length in 0..whole.len() {
        assert!(encoding::decode("m", &whole[..length]).is_err());
    }
    let mut random = fastrand::Rng::with_seed(11);
    let (mut refused, mut read) = (0, 0);
    for _ in 0..50_000 {
        let mut bytes = whole.clone();
        for _ in 0..random.usize(1..4) {
            let at = random.usize(18..bytes.len() - 16);
            // 253 begins a length of 8 bytes.
            bytes[at] = if random.bool() { 253 } else { random.u8(..) };
        }
        if bytes == whole {
            continue;
        }
        assert!(encoding::decode("m", &bytes).is_err(), "the checksum is looked at");
        reseal(&mut bytes);
        match encoding::decode("m", &bytes) {
            // What is read contradicts nothing, so it can be written.
            Ok(manifest) => {
                encoding::encode("m", &manifest).unwrap();
                read += 1;
            }
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 1000 && read > 1000, "{refused} {read}");
}

#[test]
fn a_manifest_that_contradicts_itself_is_not_written() {
    let spoil: [fn(&mut Manifest); 5] = [
        |manifest| manifest.max_parallelism = 0,
        |manifest| manifest.nodes[0].parallelism = 2,
        |manifest| manifest.nodes.push(manifest.nodes[0].clone()),
        |manifest| manifest.nodes[0].subtasks[0].stores[0].groups = 0..9,
        |manifest| manifest.nodes[0].subtasks[0].stores[0].parts[0].blob.name = "parts/../../etc".into(),
    ];
    for (i, spoil) in spoil.into_iter().enumerate() {
        let mut manifest = sample();
        spoil(&mut manifest);
        assert!(matches!(encoding::encode("m", &manifest), Err(StoreError::Damaged { .. })), "{i}");
    }
}
