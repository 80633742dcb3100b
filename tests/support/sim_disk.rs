//! A disk in memory that can lose its write-back cache, tear writes, fail at
//! the n-th call and fill up.

use postgate::spool::disk::{Disk, DiskFile, Room};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard};

/// Writes are torn at multiples of this.
const SECTOR: usize = 512;

/// What a disk does when it is told to sync.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sync {
    Honest,
    /// Says yes and does nothing: the control for power cuts.
    Lying,
}

#[derive(Default, Clone)]
struct Inode {
    cached: Vec<u8>,
    durable: Vec<u8>,
    /// Writes since the last sync.
    dirty: Vec<(usize, Vec<u8>)>,
}

#[derive(Default, Clone)]
struct State {
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    calls: u64,
    fault: Option<Fault>,
    /// Files that cannot be read.
    rotten: BTreeSet<usize>,
    is_full: bool,
}

/// When and how a disk fails.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// Call number n fails, the others work.
    Once(u64, ErrorKind),
    /// The next read panics, the others work.
    Mine,
    /// From call number n on nothing works: the machine has lost its power.
    From(u64),
}

/// See the module; clones are the same disk.
#[derive(Clone)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
    sync: Sync,
}

impl SimDisk {
    pub fn new(sync: Sync) -> SimDisk {
        SimDisk { state: Arc::default(), sync }
    }

    pub fn fail(&self, fault: Fault) {
        self.lock().fault = Some(fault);
    }

    pub fn mend(&self) {
        self.lock().fault = None;
    }

    pub fn fill(&self, is_full: bool) {
        self.lock().is_full = is_full;
    }

    pub fn calls(&self) -> u64 {
        self.lock().calls
    }

    pub fn names(&self) -> Vec<String> {
        self.lock().names.keys().cloned().collect()
    }

    /// Changes octets behind the spool's back.
    pub fn damage(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.lock();
        let inode = state.names[name];
        change(&mut state.inodes[inode].cached);
        state.inodes[inode].durable = state.inodes[inode].cached.clone();
    }

    /// From now on reading the file fails.
    pub fn rot(&self, name: &str) {
        let mut state = self.lock();
        let inode = state.names[name];
        state.rotten.insert(inode);
    }

    pub fn remove_file(&self, name: &str) {
        self.lock().names.remove(name);
    }

    /// The disk as the next process finds it when this one was killed: nothing
    /// is lost that was written, and nothing this one still does is seen.
    pub fn after_kill(&self) -> SimDisk {
        let state = self.lock();
        let State { inodes, names, durable_names, is_full, .. } = state.clone();
        let after = State { inodes, names, durable_names, is_full, ..State::default() };
        SimDisk { state: Arc::new(Mutex::new(after)), sync: self.sync }
    }

    /// The disk after a power cut: what was synced, and of the rest what the
    /// dice leave, sector by sector.
    pub fn after_power_cut(&self, dice: &mut fastrand::Rng) -> SimDisk {
        let state = self.lock();
        let mut inodes = state.inodes.clone();
        for inode in &mut inodes {
            for (offset, octets) in std::mem::take(&mut inode.dirty) {
                for (at, sector) in octets.chunks(SECTOR).enumerate() {
                    if dice.bool() {
                        put(&mut inode.durable, offset + at * SECTOR, sector);
                    }
                }
            }
            inode.cached = inode.durable.clone();
        }
        let names = if dice.bool() { state.names.clone() } else { state.durable_names.clone() };
        let after = State { inodes, durable_names: names.clone(), names, ..State::default() };
        SimDisk { state: Arc::new(Mutex::new(after)), sync: self.sync }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Counts a call and fails it when its time has come.
    fn call(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.lock();
        state.calls += 1;
        match state.fault {
            Some(Fault::Once(call, kind)) if state.calls == call => Err(kind.into()),
            Some(Fault::From(call)) if state.calls >= call => Err(io::Error::other("no power")),
            _ => Ok(state),
        }
    }
}

fn put(content: &mut Vec<u8>, offset: usize, octets: &[u8]) {
    if content.len() < offset + octets.len() {
        content.resize(offset + octets.len(), 0);
    }
    content[offset..offset + octets.len()].copy_from_slice(octets);
}

impl Disk for SimDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.call()?.names.keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let inode = *self.call()?.names.get(name).ok_or(ErrorKind::NotFound)?;
        Ok(Arc::new(SimFile { disk: self.clone(), inode }))
    }

    fn create(&self, name: &str, length: u64) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.call()?;
        if state.is_full {
            return Err(ErrorKind::StorageFull.into());
        }
        let zeros = vec![0; length as usize];
        let inode = state.inodes.len();
        state.inodes.push(Inode { cached: zeros.clone(), durable: zeros, dirty: Vec::new() });
        state.names.insert(name.to_owned(), inode);
        state.durable_names = state.names.clone();
        Ok(Arc::new(SimFile { disk: self.clone(), inode }))
    }

    fn reserve(&self, name: &str, length: u64) -> io::Result<()> {
        self.create(name, length).map(|_| ())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.call()?;
        let inode = state.names.remove(from).ok_or(ErrorKind::NotFound)?;
        state.names.insert(to.to_owned(), inode);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.call()?.names.remove(name).map(|_| ()).ok_or(ErrorKind::NotFound.into())
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut state = self.call()?;
        if self.sync == Sync::Honest {
            state.durable_names = state.names.clone();
        }
        Ok(())
    }

    fn room(&self) -> io::Result<Room> {
        let free = if self.lock().is_full { 0 } else { 1 << 40 };
        Ok(Room { free, total: 1 << 40, free_files: 0, total_files: 0 })
    }
}

struct SimFile {
    disk: SimDisk,
    inode: usize,
}

impl DiskFile for SimFile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.disk.lock().inodes[self.inode].cached.len() as u64)
    }

    fn read(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let is_mined = self.disk.lock().fault.take_if(|fault| matches!(fault, Fault::Mine)).is_some();
        assert!(!is_mined, "a mine in a read");
        let state = self.disk.call()?;
        if state.rotten.contains(&self.inode) {
            return Err(io::Error::other("input/output error"));
        }
        let content = &state.inodes[self.inode].cached;
        let range = offset as usize..offset as usize + buffer.len();
        buffer.copy_from_slice(content.get(range).ok_or(ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write(&self, parts: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        let octets: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        let mut state = match self.disk.call() {
            Ok(state) => state,
            Err(error) => {
                // A write that fails may have written something.
                let mut state = self.disk.lock();
                let half = &octets[..octets.len() / 2];
                put(&mut state.inodes[self.inode].cached, offset as usize, half);
                return Err(error);
            }
        };
        let inode = &mut state.inodes[self.inode];
        put(&mut inode.cached, offset as usize, &octets);
        inode.dirty.push((offset as usize, octets));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.call()?;
        if self.disk.sync == Sync::Honest {
            let inode = &mut state.inodes[self.inode];
            inode.durable = inode.cached.clone();
            inode.dirty.clear();
        }
        Ok(())
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.disk.call()?.inodes[self.inode].cached.truncate(length as usize);
        Ok(())
    }
}
