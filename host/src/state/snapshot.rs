//! Snapshots: of memory as runs of what changed, of databases as their files, of either as runs of everything.
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use super::{
    chain::{SECTIONS, note, section_of},
    error::StateError,
    files::lock,
    run::RunWriter,
    schema::{Header, is_expired, remap_row},
    store::KeyedStore,
    table::Table,
    timers::full_key,
    wire::{MAP, OPEN, ROW, TIMER, group_at, map_prefix, put_entry, read_entry, split_group},
};
use crate::model::{
    Blob, LaterParts, Part, SnapshotKind, SnapshotRequest, StateDescription, StateKind, StoreFormat, StoreSnapshot,
};

/// Bytes of entries sorted at once for a run of a savepoint of a database.
const SORTED_BYTES: usize = 64 << 20;

/// A row to be written. Small, since many are sorted.
struct Picked {
    group: u16,
    /// Which of the tables.
    rank: u32,
    row: u32,
    /// The first bytes of what it is sorted by, which mostly decide.
    head: u64,
}

/// Memory kept from row to row.
#[derive(Default)]
struct Scratch {
    full: Vec<u8>,
    key: Vec<u8>,
    cell: Vec<u8>,
    value: Vec<u8>,
}

impl KeyedStore {
    /// What the store holds now. A checkpoint has only what earlier ones, known to be complete, have not made durable. What nobody keeps has
    /// no parts.
    pub fn snapshot(&mut self, request: &SnapshotRequest) -> Result<StoreSnapshot, StateError> {
        if request.kind == SnapshotKind::Checkpoint && request.kept {
            self.checkpoints.insert(request.checkpoint);
        }
        let mut later = None;
        let (format, parts) = match (request.kind, self.db.is_some()) {
            _ if !request.kept => (StoreFormat::Runs, Vec::new()),
            (kind, true) if kind == SnapshotKind::Checkpoint || request.beside => {
                later = Some(self.link_files(request)?);
                (StoreFormat::RocksDb, Vec::new())
            }
            (SnapshotKind::Checkpoint, false) => (StoreFormat::Runs, self.write_changes(request)?),
            (_, true) => (StoreFormat::Runs, self.write_database(request)?),
            (SnapshotKind::Savepoint, false) => {
                let header = Header::of(&self.settings);
                let (bytes, _) = self.write_run(&header, &self.changed()).map_err(StateError::file("memory"))?;
                (StoreFormat::Runs, vec![self.part(request, "run", note(0, true), Blob::Bytes(bytes.into()))])
            }
        };
        let groups = self.settings.groups.clone();
        let note = Header::of(&self.settings).encode();
        Ok(StoreSnapshot { store: self.settings.name.clone(), format, groups, note, parts, later, durable: false })
    }

    fn part_name(&self, request: &SnapshotRequest, file: &str) -> String {
        format!("{}-{}-{file}", request.prefix, self.settings.name)
    }

    fn part(&self, request: &SnapshotRequest, file: &str, note: Vec<u8>, content: Blob) -> Part {
        let name = self.part_name(request, file);
        Part { name, groups: self.settings.groups.clone(), note, content: Some(content) }
    }

    /// A checkpoint of memory: a run of changes and of some sections whole, and the runs it builds on.
    fn write_changes(&mut self, request: &SnapshotRequest) -> Result<Vec<Part>, StateError> {
        if !self.tracking {
            self.chain.clear();
        }
        let rows = self.changed();
        let (live, changed) = self.count(&rows);
        let whole = self.chain.plan(&live, &changed);
        let dropped: Vec<_> = std::mem::take(&mut self.dropped).into_iter().collect();
        if !self.chain.is_empty() && whole == 0 && dropped.is_empty() && changed.iter().all(|count| *count == 0) {
            return Ok(self.chain.parts(&self.settings.groups));
        }
        let header = Header { whole, dropped, ..Header::of(&self.settings) };
        let (bytes, mut entries) = self.write_run(&header, &rows).map_err(StateError::file("memory"))?;
        if !header.dropped.is_empty() {
            entries.iter_mut().for_each(|count| *count += 1);
        }
        self.chain.add(self.part_name(request, "run"), request.checkpoint, bytes.into(), whole, entries);
        for (table, rows) in self.tables.iter_mut().chain(&mut self.open).zip(&rows) {
            table.settle(rows);
        }
        self.timers.settle();
        self.tracking = true;
        Ok(self.chain.parts(&self.settings.groups))
    }

    /// The changed rows of each table.
    fn changed(&self) -> Vec<Vec<u32>> {
        self.tables.iter().chain(&self.open).map(Table::changed).collect()
    }

    /// How many rows and timers there are, and how many have changed, in each section.
    fn count(&mut self, rows: &[Vec<u32>]) -> ([u64; SECTIONS], [u64; SECTIONS]) {
        let (mut live, mut changed) = ([0; SECTIONS], [0; SECTIONS]);
        let groups = &self.settings.groups;
        let section = |group: u16| section_of(group.into(), groups);
        for (table, rows) in self.tables.iter_mut().chain(&mut self.open).zip(rows) {
            rows.iter().for_each(|row| changed[section(table.young.groups[*row as usize])] += 1);
            let counts = table.changed.count(&table.young, groups);
            live.iter_mut().zip(counts).for_each(|(live, count)| *live += count);
        }
        live.iter_mut().for_each(|live| *live += (self.timers.len() / SECTIONS) as u64);
        for (_, timer, _) in self.timers.changes() {
            changed[section(timer_group(timer))] += 1;
        }
        (live, changed)
    }

    /// All of the sections that are whole, changes of the others.
    fn write_run(&self, header: &Header, changed: &[Vec<u32>]) -> io::Result<(Vec<u8>, [u64; SECTIONS])> {
        let section = |group: u16| section_of(group.into(), &self.settings.groups);
        let is_whole = |group: u16| header.whole & (1 << section(group)) != 0;
        let tables: Vec<&Table> = self.tables.iter().chain(&self.open).collect();
        let mut rows = pick(&tables, changed, header.whole != 0, &is_whole);
        sort(&tables, &mut rows);
        let mut scratch = Scratch::default();
        let mut others: BTreeMap<(u16, Vec<u8>), bool> = BTreeMap::new();
        let mut rest = Vec::new();
        let mut add = |domain: u8, timer: &[u8], set: bool| {
            if let Some(group) = split_group(&full_key(domain, timer), &mut rest) {
                others.insert((group, rest.clone()), set);
            }
        };
        self.timers.all().filter(|(_, timer)| is_whole(timer_group(timer))).for_each(|(d, timer)| add(d, timer, true));
        self.timers
            .changes()
            .filter(|(_, timer, _)| !is_whole(timer_group(timer)))
            .for_each(|(domain, timer, set)| add(domain, timer, set));
        let has_maps = self.settings.states.iter().any(|state| state.kind == StateKind::Map);
        // All of it at most as large as it is in memory: growing would copy it again and again.
        let room = if header.whole == u16::MAX { tables.iter().map(|table| table.bytes()).sum() } else { 0 };
        let mut out = RunWriter::new(Vec::with_capacity(room), header)?;
        let mut entries = [0; SECTIONS];
        let mut rows = rows.into_iter().peekable();
        let mut others = others.into_iter().peekable();
        while let Some(group) = rows.peek().map(|row| row.group).into_iter().chain(others.peek().map(|it| it.0.0)).min()
        {
            let of_rows =
                |picked: &Picked, kind: u8| picked.group == group && tables[picked.rank as usize].shape.kind == kind;
            let mut maps = Vec::new();
            let mut opened = Vec::new();
            while let Some(picked) = rows.next_if(|picked| of_rows(picked, ROW)) {
                entries[section(group)] += 1;
                self.write_row(&tables, &picked, is_whole(group), &mut scratch, &mut out)?;
                if has_maps {
                    maps.push(picked);
                }
            }
            while let Some(picked) = rows.next_if(|picked| of_rows(picked, OPEN)) {
                opened.push(picked);
            }
            self.write_maps(&tables, &maps, is_whole(group), &mut out)?;
            while let Some(((_, key), set)) = others.next_if(|((at, _), _)| *at == group) {
                entries[section(group)] += 1;
                out.entry(group, &key, set.then_some(&[]))?;
            }
            for picked in &opened {
                entries[section(group)] += 1;
                self.write_row(&tables, picked, is_whole(group), &mut scratch, &mut out)?;
            }
        }
        Ok((out.finish(header)?, entries))
    }

    fn write_row(
        &self,
        tables: &[&Table],
        picked: &Picked,
        whole: bool,
        scratch: &mut Scratch,
        out: &mut RunWriter<Vec<u8>>,
    ) -> io::Result<()> {
        let (table, Scratch { full, key, cell, value }) = (tables[picked.rank as usize], scratch);
        full.clear();
        value.clear();
        table.full_key(&table.young, picked.row as usize, full);
        table.young.encode(picked.row as usize, &table.shape.states, self.now_ms, cell, value);
        split_group(full, key);
        match value.is_empty() {
            true if whole => Ok(()),
            empty => out.entry(picked.group, key, (!empty).then_some(value)),
        }
    }

    /// The maps of rows of one key group, in order.
    fn write_maps(
        &self,
        tables: &[&Table],
        rows: &[Picked],
        whole: bool,
        out: &mut RunWriter<Vec<u8>>,
    ) -> io::Result<()> {
        let mut entries: BTreeMap<Vec<u8>, Option<Vec<u8>>> = BTreeMap::new();
        let Some(group) = rows.first().map(|picked| picked.group) else { return Ok(()) };
        for picked in rows {
            let (table, row) = (tables[picked.rank as usize], picked.row as usize);
            for (state, description) in self.settings.states.iter().enumerate() {
                let Some(map) = table.young.values.map(state, row) else { continue };
                let (key, window) = table.shape.split(table.young.keys.key(row), table.window);
                let mut prefix = Vec::new();
                map_prefix(window, picked.group, state, key, &mut prefix);
                let mut add = |key: &[u8], entry: Option<(i64, &[u8])>| {
                    let mut full = prefix.clone();
                    full.extend_from_slice(key);
                    let mut rest = Vec::new();
                    split_group(&full, &mut rest);
                    let timed = description.time_to_live.is_some();
                    let entry = entry.filter(|(time, _)| !is_expired(description, Some(*time), self.now_ms));
                    let value = entry.map(|(time, value)| {
                        let mut into = Vec::new();
                        put_entry(timed.then_some(time), value, &mut into);
                        into
                    });
                    entries.insert(rest, value);
                };
                if whole {
                    map.after(None).for_each(|(key, time, value)| add(key, Some((time, value))));
                } else {
                    map.changes().for_each(|(key, entry)| add(key, entry));
                }
            }
        }
        for (key, value) in entries {
            if value.is_some() || !whole {
                out.entry(group, &key, value.as_deref())?;
            }
        }
        Ok(())
    }

    fn folder(&mut self, request: &SnapshotRequest, what: &str) -> Result<PathBuf, StateError> {
        let Some(db) = &self.db else { return Err(self.bug("it has no folder")) };
        let folder = db.directory().with_file_name(format!("{what}-{}", request.checkpoint));
        if folder.exists() {
            fs::remove_dir_all(&folder).map_err(StateError::file(&folder))?;
        }
        self.folders.entry(request.checkpoint).or_default().push(folder.clone());
        Ok(folder)
    }

    /// A checkpoint of a database: its files, which are made while the task goes on. What it does not have yet is taken out of memory
    /// here.
    fn link_files(&mut self, request: &SnapshotRequest) -> Result<LaterParts, StateError> {
        let folder = self.folder(request, if request.beside { "beside" } else { "checkpoint" })?;
        let name = self.part_name(request, "");
        let (Some(db), Some(writes)) = (&self.db, &mut self.writes) else { return Err(self.bug("it has no database")) };
        for table in self.tables.iter_mut().chain(&mut self.open) {
            table.write(None, writes)?;
        }
        self.timers.write(writes);
        let (files, groups, checkpoint) = (self.files.clone(), self.settings.groups.clone(), request.checkpoint);
        let builds = !request.beside;
        db.checkpoint(writes, folder, move |folder| {
            let names = file_names(folder)?;
            let mut files = lock(&files);
            files.keep(|file| names.iter().any(|name| name == file));
            let part = |file: String| {
                let new = format!("{name}{file}");
                let (name, durable) =
                    if builds && file.ends_with(".sst") { files.part(&file, new, checkpoint) } else { (new, false) };
                let content = (!durable).then(|| Blob::File(folder.join(&file)));
                Part { name, groups: groups.clone(), note: file.into_bytes(), content }
            };
            Ok(names.into_iter().map(part).collect())
        })
    }

    /// A savepoint of a database: runs of as many entries as can be sorted at once.
    fn write_database(&mut self, request: &SnapshotRequest) -> Result<Vec<Part>, StateError> {
        self.write_all()?;
        let folder = self.folder(request, "savepoint")?;
        fs::create_dir_all(&folder).map_err(StateError::file(&folder))?;
        let header = Header::of(&self.settings);
        let (mut files, mut sorted, mut size) = (Vec::new(), Vec::new(), 0);
        let (states, now_ms) = (&self.settings.states, self.now_ms);
        let Some(db) = &self.db else { return Err(self.bug("it has no database")) };
        let mut rest = Vec::new();
        db.scan(&[ROW], &[OPEN + 1], |key, value| {
            if let (Some(group), Some(value)) = (split_group(key, &mut rest), live(key, value, states, now_ms)) {
                size += rest.len() + value.len() + size_of::<(u16, Vec<u8>, Vec<u8>)>();
                sorted.push((group, rest.clone(), value));
            }
            if size > SORTED_BYTES {
                size = 0;
                files.push(write_sorted(&folder, files.len(), &mut sorted, &header)?);
            }
            Ok(true)
        })?;
        files.push(write_sorted(&folder, files.len(), &mut sorted, &header)?);
        let part = |(i, path)| self.part(request, &format!("{i}.run"), note(i as u64, true), Blob::File(path));
        Ok(files.into_iter().enumerate().map(part).collect())
    }

    /// A checkpoint or savepoint is complete: what it has made durable need not be sent again, and earlier checkpoints that are not
    /// complete will never be.
    pub fn completed(&mut self, checkpoint: u64) {
        // A savepoint makes nothing durable that checkpoints could build on, and says nothing of earlier ones.
        if !self.checkpoints.remove(&checkpoint) {
            self.folders.remove(&checkpoint).into_iter().flatten().for_each(remove);
            return;
        }
        self.checkpoints.retain(|later| *later > checkpoint);
        self.chain.completed(checkpoint);
        lock(&self.files).completed(checkpoint);
        let later = self.folders.split_off(&checkpoint.saturating_add(1));
        std::mem::replace(&mut self.folders, later).into_values().flatten().for_each(remove);
    }

    /// A checkpoint will never be complete: what it was to make durable is sent again with the next.
    pub fn aborted(&mut self, checkpoint: u64) {
        self.checkpoints.remove(&checkpoint);
        if let Some(db) = &self.db {
            db.settle();
        }
        self.folders.remove(&checkpoint).into_iter().flatten().for_each(remove);
    }
}

/// What is left of a folder does not matter to what is written: it is removed at the next start.
fn remove(folder: PathBuf) {
    if let Err(error) = fs::remove_dir_all(&folder) {
        tracing::warn!(folder = %folder.display(), %error, "a local folder of an old checkpoint could not be removed");
    }
}

fn timer_group(timer: &[u8]) -> u16 {
    let at = group_at(TIMER).unwrap_or_default() - 2;
    timer.get(at..at + 2).and_then(|group| group.try_into().ok()).map(u16::from_be_bytes).unwrap_or_default()
}

/// Rows that live, of sections that are whole, if `any` is, and rows that have changed, of the others.
fn pick(tables: &[&Table], changed: &[Vec<u32>], any: bool, is_whole: &impl Fn(u16) -> bool) -> Vec<Picked> {
    let mut picked = Vec::new();
    for (rank, (table, changed)) in tables.iter().zip(changed).enumerate() {
        let (rows, groups) = (&table.young, &table.young.groups);
        let mut add = |row: usize| {
            let head = head(rows.keys.key(row), table.shape.suffix);
            picked.push(Picked { group: groups[row], rank: rank as u32, row: row as u32, head });
        };
        if any {
            (0..rows.len()).filter(|row| is_whole(groups[*row]) && rows.is_live(*row)).for_each(&mut add);
        }
        changed.iter().map(|row| *row as usize).filter(|row| !is_whole(groups[*row])).for_each(&mut add);
    }
    picked
}

/// By key group, window and key.
fn sort(tables: &[&Table], rows: &mut [Picked]) {
    rows.sort_unstable_by(|a, b| {
        (a.group, a.rank, a.head).cmp(&(b.group, b.rank, b.head)).then_with(|| {
            // Keys of one table end with as many bytes of their window.
            let table = tables[a.rank as usize];
            let split = |row: u32| {
                let key = table.young.keys.key(row as usize);
                key.split_at(key.len() - table.shape.suffix)
            };
            let (left, right) = (split(a.row), split(b.row));
            (left.1, left.0).cmp(&(right.1, right.0))
        })
    });
}

fn head(key: &[u8], suffix: usize) -> u64 {
    let mut head = [0; 8];
    let sorted_by = if suffix == 0 { key } else { &key[key.len() - suffix..] };
    let length = sorted_by.len().min(8);
    head[..length].copy_from_slice(&sorted_by[..length]);
    u64::from_be_bytes(head)
}

/// The value of an entry without what is expired; `None` if that is all.
fn live(key: &[u8], value: &[u8], states: &[StateDescription], now_ms: i64) -> Option<Vec<u8>> {
    match *key.first()? {
        ROW => remap_row(value, Some, states, now_ms).ok()?,
        MAP => {
            let state = u16::from_be_bytes(key.get(19..21)?.try_into().ok()?);
            let expired = is_expired(states.get(usize::from(state))?, read_entry(value)?.0, now_ms);
            (!expired).then(|| value.to_vec())
        }
        _ => Some(value.to_vec()),
    }
}

fn write_sorted(
    folder: &Path,
    number: usize,
    entries: &mut Vec<(u16, Vec<u8>, Vec<u8>)>,
    header: &Header,
) -> Result<PathBuf, StateError> {
    entries.sort_unstable();
    let path = folder.join(format!("{number}.run"));
    let written = (|| {
        let mut out = RunWriter::new(BufWriter::new(File::create(&path)?), header)?;
        for (group, key, value) in entries.drain(..) {
            out.entry(group, &key, Some(&value))?;
        }
        out.finish(header)?.flush()
    })();
    written.map_err(StateError::file(&path))?;
    Ok(path)
}

fn file_names(folder: &Path) -> Result<Vec<String>, StateError> {
    let entries = fs::read_dir(folder).map_err(StateError::file(folder))?;
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry.map_err(StateError::file(folder))?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}
