//! Manifests as bytes, as `docs/formats/manifest.md` has them. The types here are the format: they change only with its version.
//! Decoding takes any bytes, and neither panics nor allocates more than a fixed amount.
use std::collections::HashMap;

use bincode::{Decode, Encode, config};
use xxhash_rust::xxh3::xxh3_128;

use super::{
    BlobReference, Manifest, StoreError,
    api::GET_BYTES_MAX,
    manifest::{NodeState, PartEntry, StoreEntry, SubtaskEntry},
};
use crate::model::{
    CanaryVersion, OperatorKind, OperatorState, OperatorVersion, Redistribution, RuleVersion, Share, SnapshotKind,
    SplitPosition, StoreFormat,
};

/// What every manifest begins with.
const MAGIC: [u8; 8] = *b"WMILLMAN";

/// The version that is written, and the latest that is read.
const VERSION: u16 = 3;

/// Without canaries and rules; otherwise the same.
const WITHOUT_CANARIES: u16 = 2;

/// Without versions of plugins either.
const WITHOUT_VERSIONS: u16 = 1;

/// Magic bytes, version, length.
const HEADER_BYTES: usize = 8 + 2 + 8;

/// The checksum at the end.
const TRAILER_BYTES: usize = 16;

/// Memory that vectors may claim before their elements have been read, in bytes.
const CLAIM_BYTES_MAX: usize = 256 << 20;

/// A manifest's bytes. Fails with one that is too large or contradicts itself, so that what was written can be read.
pub(super) fn encode(name: &str, manifest: &Manifest) -> Result<Vec<u8>, StoreError> {
    manifest.check().map_err(|what| StoreError::damaged(name, what))?;
    let payload = bincode::encode_to_vec(Manifest3::from(manifest), config::standard())
        .map_err(|error| StoreError::damaged(name, error.to_string()))?;
    let mut bytes = Vec::with_capacity(HEADER_BYTES + payload.len() + TRAILER_BYTES);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&(payload.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&payload);
    bytes.extend_from_slice(&xxh3_128(&bytes).to_le_bytes());
    if bytes.len() as u64 > GET_BYTES_MAX {
        return Err(StoreError::TooLarge { name: name.to_owned(), bytes: bytes.len() as u64, max: GET_BYTES_MAX });
    }
    // Millions of empty vectors claim more than they have bytes.
    decode(name, &bytes)?;
    Ok(bytes)
}

/// The manifest that was encoded to these bytes.
pub(super) fn decode(name: &str, bytes: &[u8]) -> Result<Manifest, StoreError> {
    let damaged = |what: &str| StoreError::damaged(name, what);
    if bytes.len() as u64 > GET_BYTES_MAX {
        return Err(StoreError::TooLarge { name: name.to_owned(), bytes: bytes.len() as u64, max: GET_BYTES_MAX });
    }
    let Some((checked, trailer)) = bytes.split_last_chunk::<TRAILER_BYTES>() else {
        return Err(damaged("it is too short"));
    };
    let rest = checked.strip_prefix(&MAGIC).ok_or_else(|| damaged("it does not begin as a manifest does"))?;
    if xxh3_128(checked) != u128::from_le_bytes(*trailer) {
        return Err(damaged("its checksum differs"));
    }
    let (version, rest) = rest.split_first_chunk().ok_or_else(|| damaged("it is too short"))?;
    let found = u16::from_le_bytes(*version);
    if !(WITHOUT_VERSIONS..=VERSION).contains(&found) {
        return Err(StoreError::Version { name: name.to_owned(), found, supported: VERSION });
    }
    let (length, payload) = rest.split_first_chunk().ok_or_else(|| damaged("it is too short"))?;
    if u64::from_le_bytes(*length) != payload.len() as u64 {
        return Err(damaged("its length differs"));
    }
    let limited = config::standard().with_limit::<CLAIM_BYTES_MAX>();
    let read = match found {
        WITHOUT_VERSIONS => bincode::decode_from_slice(payload, limited)
            .map(|(manifest, taken)| (Manifest2 { manifest, versions: Vec::new() }.into(), taken)),
        WITHOUT_CANARIES => bincode::decode_from_slice::<Manifest2, _>(payload, limited)
            .map(|(manifest, taken)| (manifest.into(), taken)),
        _ => bincode::decode_from_slice::<Manifest3, _>(payload, limited),
    };
    let (read, taken) = read.map_err(|error| damaged(&error.to_string()))?;
    if taken != payload.len() {
        return Err(damaged("bytes are left over"));
    }
    let manifest = Manifest::try_from(read).map_err(damaged)?;
    manifest.check().map_err(|what| damaged(&what))?;
    Ok(manifest)
}

#[derive(Encode, Decode)]
struct Manifest3 {
    manifest: Manifest2,
    canaries: Vec<Canary3>,
    rules: Vec<Rule3>,
}

#[derive(Encode, Decode)]
struct Canary3 {
    change: u64,
    plugin: String,
    digest: String,
    configuration: String,
    share: u32,
    by: Vec<String>,
}

#[derive(Encode, Decode)]
struct Rule3 {
    uid: String,
    added: u64,
    removed: bool,
    settings: String,
}

#[derive(Encode, Decode)]
struct Manifest2 {
    manifest: Manifest1,
    versions: Vec<Version2>,
}

#[derive(Encode, Decode)]
struct Version2 {
    change: u64,
    uid: String,
    kind: String,
    plugin: String,
    digest: String,
    configuration: String,
}

#[derive(Encode, Decode)]
struct Manifest1 {
    job: String,
    checkpoint: u64,
    start: u64,
    kind: u8,
    created_ms: i64,
    max_parallelism: u32,
    finished: bool,
    nodes: Vec<Node1>,
}

#[derive(Encode, Decode)]
struct Node1 {
    uid: String,
    subtasks: Vec<Subtask1>,
}

#[derive(Encode, Decode)]
struct Subtask1 {
    watermark: i64,
    splits: Vec<Split1>,
    stores: Vec<Store1>,
    operator_states: Vec<OperatorState1>,
    committables: Vec<Vec<u8>>,
}

#[derive(Encode, Decode)]
struct Split1 {
    split: String,
    position: Vec<u8>,
}

#[derive(Encode, Decode)]
struct Store1 {
    store: String,
    format: u8,
    first_group: u32,
    end_group: u32,
    note: Vec<u8>,
    parts: Vec<Part1>,
}

#[derive(Encode, Decode)]
struct Part1 {
    blob: String,
    bytes: u64,
    checksum: [u8; 16],
    first_group: u32,
    end_group: u32,
    note: Vec<u8>,
}

#[derive(Encode, Decode)]
struct OperatorState1 {
    name: String,
    redistribution: u8,
    elements: Vec<Vec<u8>>,
}

impl From<&Manifest> for Manifest3 {
    fn from(manifest: &Manifest) -> Manifest3 {
        let canary = |version: &OperatorVersion| {
            let canary = version.canary.as_ref()?;
            Some(Canary3 {
                change: version.change,
                plugin: canary.plugin.clone(),
                digest: canary.digest.clone(),
                configuration: canary.configuration.clone(),
                share: canary.share.steps(),
                by: canary.by.clone(),
            })
        };
        let canaries = manifest.versions.iter().filter_map(canary).collect();
        let rule = |version: &OperatorVersion| {
            let RuleVersion { added, removed, settings } = version.rule.clone()?;
            Some(Rule3 { uid: version.uid.clone(), added, removed, settings })
        };
        let rules = manifest.versions.iter().filter_map(rule).collect();
        Manifest3 { manifest: Manifest2::from(manifest), canaries, rules }
    }
}

impl From<Manifest2> for Manifest3 {
    fn from(manifest: Manifest2) -> Manifest3 {
        Manifest3 { manifest, canaries: Vec::new(), rules: Vec::new() }
    }
}

impl From<&Manifest> for Manifest2 {
    fn from(manifest: &Manifest) -> Manifest2 {
        let version = |version: &OperatorVersion| Version2 {
            change: version.change,
            uid: version.uid.clone(),
            kind: version.kind.interface().to_owned(),
            plugin: version.plugin.clone(),
            digest: version.digest.clone(),
            configuration: version.configuration.clone(),
        };
        Manifest2 { manifest: Manifest1::from(manifest), versions: manifest.versions.iter().map(version).collect() }
    }
}

impl From<&Manifest> for Manifest1 {
    fn from(manifest: &Manifest) -> Manifest1 {
        let node = |node: &NodeState| Node1 {
            uid: node.uid.clone(),
            subtasks: node.subtasks.iter().map(Subtask1::from).collect(),
        };
        Manifest1 {
            job: manifest.job.clone(),
            checkpoint: manifest.checkpoint,
            start: manifest.start,
            kind: match manifest.kind {
                SnapshotKind::Checkpoint => 0,
                SnapshotKind::Savepoint => 1,
            },
            created_ms: manifest.created_ms,
            max_parallelism: manifest.max_parallelism,
            finished: manifest.finished,
            nodes: manifest.nodes.iter().map(node).collect(),
        }
    }
}

impl From<&SubtaskEntry> for Subtask1 {
    fn from(subtask: &SubtaskEntry) -> Subtask1 {
        let split = |at: &SplitPosition| Split1 { split: at.split.clone(), position: at.position.clone() };
        let state = |state: &OperatorState| OperatorState1 {
            name: state.name.clone(),
            redistribution: match state.redistribution {
                Redistribution::Split => 0,
                Redistribution::Union => 1,
                Redistribution::Broadcast => 2,
            },
            elements: state.elements.clone(),
        };
        Subtask1 {
            watermark: subtask.watermark,
            splits: subtask.splits.iter().map(split).collect(),
            stores: subtask.stores.iter().map(Store1::from).collect(),
            operator_states: subtask.operator_states.iter().map(state).collect(),
            committables: subtask.committables.clone(),
        }
    }
}

impl From<&StoreEntry> for Store1 {
    fn from(store: &StoreEntry) -> Store1 {
        let part = |part: &PartEntry| Part1 {
            blob: part.blob.name.clone(),
            bytes: part.blob.bytes,
            checksum: part.blob.checksum.to_le_bytes(),
            first_group: part.groups.start,
            end_group: part.groups.end,
            note: part.note.clone(),
        };
        Store1 {
            store: store.store.clone(),
            format: match store.format {
                StoreFormat::Runs => 0,
                StoreFormat::RocksDb => 1,
            },
            first_group: store.groups.start,
            end_group: store.groups.end,
            note: store.note.clone(),
            parts: store.parts.iter().map(part).collect(),
        }
    }
}

/// Fails on a number that means nothing in this version.
impl TryFrom<Manifest3> for Manifest {
    type Error = &'static str;

    fn try_from(read: Manifest3) -> Result<Manifest, &'static str> {
        let Manifest3 { manifest: read, canaries, rules } = read;
        let mut manifest = Manifest::try_from(read)?;
        let mut rules: HashMap<String, RuleVersion> = rules.into_iter().map(rule).collect();
        manifest.versions.iter_mut().for_each(|version| version.rule = rules.remove(&version.uid));
        for Canary3 { change, plugin, digest, configuration, share, by } in canaries {
            let share = Share::from_steps(share).ok_or("it has a canary with an impossible share")?;
            let of = |version: &&mut OperatorVersion| version.change == change && version.canary.is_none();
            let version = manifest.versions.iter_mut().find(of).ok_or("it has the canary of no version")?;
            version.canary = Some(CanaryVersion { plugin, digest, configuration, share, by });
        }
        Ok(manifest)
    }
}

impl TryFrom<Manifest2> for Manifest {
    type Error = &'static str;

    fn try_from(read: Manifest2) -> Result<Manifest, &'static str> {
        let Manifest2 { manifest: read, versions } = read;
        let version = |read: Version2| {
            let kind = OperatorKind::of_interface(&read.kind);
            let Version2 { change, uid, plugin, digest, configuration, .. } = read;
            let kind = kind.ok_or("it has a plugin of an unknown kind")?;
            Ok(OperatorVersion { change, uid, kind, plugin, digest, configuration, canary: None, rule: None })
        };
        let node = |node: Node1| {
            let parallelism = u32::try_from(node.subtasks.len()).map_err(|_| "it has too many subtasks")?;
            let subtasks = node.subtasks.into_iter().map(SubtaskEntry::try_from).collect::<Result<_, _>>()?;
            Ok(NodeState { uid: node.uid, parallelism, subtasks })
        };
        Ok(Manifest {
            job: read.job,
            checkpoint: read.checkpoint,
            start: read.start,
            kind: match read.kind {
                0 => SnapshotKind::Checkpoint,
                1 => SnapshotKind::Savepoint,
                _ => return Err("it is of an unknown kind"),
            },
            created_ms: read.created_ms,
            max_parallelism: read.max_parallelism,
            finished: read.finished,
            versions: versions.into_iter().map(version).collect::<Result<_, &'static str>>()?,
            nodes: read.nodes.into_iter().map(node).collect::<Result<_, &'static str>>()?,
        })
    }
}

fn rule(read: Rule3) -> (String, RuleVersion) {
    let Rule3 { uid, added, removed, settings } = read;
    (uid, RuleVersion { added, removed, settings })
}

impl TryFrom<Subtask1> for SubtaskEntry {
    type Error = &'static str;

    fn try_from(read: Subtask1) -> Result<SubtaskEntry, &'static str> {
        let split = |split: Split1| SplitPosition { split: split.split, position: split.position };
        let state = |state: OperatorState1| {
            let redistribution = match state.redistribution {
                0 => Redistribution::Split,
                1 => Redistribution::Union,
                2 => Redistribution::Broadcast,
                _ => return Err("it has an unknown redistribution"),
            };
            Ok(OperatorState { name: state.name, redistribution, elements: state.elements })
        };
        Ok(SubtaskEntry {
            watermark: read.watermark,
            splits: read.splits.into_iter().map(split).collect(),
            stores: read.stores.into_iter().map(StoreEntry::try_from).collect::<Result<_, _>>()?,
            operator_states: read.operator_states.into_iter().map(state).collect::<Result<_, _>>()?,
            committables: read.committables,
        })
    }
}

impl TryFrom<Store1> for StoreEntry {
    type Error = &'static str;

    fn try_from(read: Store1) -> Result<StoreEntry, &'static str> {
        let part = |part: Part1| PartEntry {
            blob: BlobReference { name: part.blob, bytes: part.bytes, checksum: u128::from_le_bytes(part.checksum) },
            groups: part.first_group..part.end_group,
            note: part.note,
        };
        Ok(StoreEntry {
            store: read.store,
            format: match read.format {
                0 => StoreFormat::Runs,
                1 => StoreFormat::RocksDb,
                _ => return Err("it has a store of an unknown format"),
            },
            groups: read.first_group..read.end_group,
            note: read.note,
            parts: read.parts.into_iter().map(part).collect(),
        })
    }
}
