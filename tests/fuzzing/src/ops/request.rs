//! One write of a script: its segments, its troubles, and what it must return.

#![forbid(unsafe_code)]

use std::cell::Cell;

use faultless_filemap::{NoTask, SyncKind, Task, WriteOptions};
use faultless_page::{Errno, PAGE_SIZE};
use faultless_usercopy::{IovIter, UserSlice};

use super::script::{Answer, BYTES, Retention, Segment, To, Write};
use super::subject::{MAPPED, READ_ONLY, SOURCE, Subject};
use faultless_controls::{Control, ControlFile, Failure, Request};
use faultless_host::syscall;

/// Rounds after which the loop of an old write path is taken for endless.
const PATIENCE: u64 = 2_000;

/// The segments of a write, and what of them can be read.
#[derive(Debug, Default)]
struct Built {
    segments: Vec<UserSlice>,
    readable: Vec<u8>,
    asked: usize,
    broken: Broken,
    /// Bytes of the file that are read.
    mapped: Vec<(usize, usize)>,
}

/// Whether a byte came that cannot be read: what follows does not count.
#[derive(Debug, Default, PartialEq, Eq)]
enum Broken {
    #[default]
    No,
    Yes,
}

/// A task with a limit, and a fatal signal that comes after so many looks.
struct Limited {
    limit: u64,
    looks: Cell<Option<u8>>,
}

impl Task for Limited {
    fn file_size_limit(&self) -> u64 {
        self.limit
    }

    fn fatal_signal_pending(&self) -> bool {
        let left = self.looks.get();
        self.looks.set(left.map(|left| left.saturating_sub(1)));
        left == Some(0)
    }
}

impl Built {
    fn push(&mut self, slice: UserSlice, readable: &[u8]) {
        self.segments.push(slice);
        self.asked += slice.len();
        if self.broken == Broken::No {
            self.readable.extend_from_slice(readable);
        }
        if readable.len() < slice.len() {
            self.broken = Broken::Yes;
        }
    }
}

impl Subject<'_> {
    pub(super) fn write(&mut self, write: &Write, number: usize, retention: Retention) -> Answer {
        let at = match write.to {
            To::At(place) => place.get(self.end()),
            To::Append => self.end(),
        };
        let mut built = self.build(write, BYTES - at, number);
        let mut excuses = self.excuses.clone();
        let control = self.shape.control;
        // The old write paths know no limits, and no way out of a source that is stolen again and
        // again.
        let troubles = write.trouble.iter().flatten().filter(|_| control.is_none());
        for trouble in troubles {
            let (event, when, action) = trouble.rule();
            self.space.script().add(event, when, action);
            if !trouble.is_survived() {
                excuses.push(Errno::Fault);
            }
        }
        let limit = write.limit.filter(|_| control.is_none()).map(|place| place.get(self.end()));
        let room = limit.map_or(usize::MAX, |limit| limit.saturating_sub(at));
        let looks = write.signal.filter(|_| control.is_none());
        if looks.is_some() {
            excuses.push(Errno::Interrupted);
        }
        let task = Limited {
            limit: limit.map_or(u64::MAX, |limit| self.pos(limit)),
            looks: Cell::new(looks),
        };
        let mut options = match write.to {
            To::At(_) => WriteOptions::at(self.pos(at)),
            To::Append => WriteOptions::append(),
        };
        options = options.with_strategy(self.strategy);
        if let Some(kind) = write.sync.kind() {
            options = options.with_sync(kind);
        }
        let result = match control {
            None => self.write_now(&built, &options, retention, &task),
            Some(control) => self.write_then(&built, &options, control),
        };
        self.space.script().clear();
        if write.trouble.iter().flatten().any(|trouble| !trouble.is_survived()) {
            self.map_file();
        }
        if write.trouble.iter().any(Option::is_some) {
            self.lay_out_source();
        }
        if room == 0 && built.asked > 0 {
            assert_eq!(result, Err(Errno::FileTooBig), "W8: a write at the limit");
            return Some(result);
        }
        built.readable.truncate(room);
        self.check_result(at, &built, room, options.sync(), result, &excuses);
        excuses.is_empty().then_some(result)
    }

    /// Lays out the segments, at most `room` bytes in all.
    fn build(&self, write: &Write, room: usize, number: usize) -> Built {
        let mut built = Built::default();
        let memory = SOURCE * PAGE_SIZE;
        let mut from = number * 331 % PAGE_SIZE;
        for segment in write.segments.iter().flatten() {
            let left = room - built.asked;
            match *segment {
                Segment::Empty => built.push(self.space.slice(from % SOURCE, 0, 0), &[]),
                Segment::Good(len) => {
                    let len = len.get().min(left);
                    if from + len > memory {
                        from = number;
                    }
                    let len = len.min(memory - from);
                    built.push(self.space.slice(0, from, len), &self.source[from..from + len]);
                    from += len;
                }
                Segment::Cut(len, readable) => {
                    let len = len.get().min(left);
                    let readable = readable.get().min(len);
                    let start = memory - readable;
                    // Two pages behind the source are not mapped.
                    let len = len.min(readable + 2 * PAGE_SIZE);
                    built.push(self.space.slice(0, start, len), &self.source[start..]);
                }
                Segment::Bad(len) => {
                    let len = len.get().min(left).min(2 * PAGE_SIZE);
                    built.push(self.space.slice(SOURCE, 0, len), &[]);
                }
                Segment::Mapped(place, len) => {
                    let start = place.get(self.end()).min(self.end());
                    let len = len.get().min(left).min(self.end() - start);
                    let mapping = if number.is_multiple_of(2) { MAPPED } else { READ_ONLY };
                    let bytes = &self.contents.bytes()[start..start + len];
                    built.push(self.space.slice(mapping, start, len), bytes);
                    built.mapped.push((start, start + len));
                }
            }
        }
        built
    }

    fn write_now(
        &self,
        built: &Built,
        options: &WriteOptions,
        retention: Retention,
        task: &Limited,
    ) -> Result<usize, Errno> {
        syscall(|token| {
            let mut from = IovIter::new(&self.space, &built.segments).expect("few segments");
            let written = match retention {
                Retention::Kept => self.file.write(token, &mut from, options, task),
                Retention::Behind => {
                    self.file.write_behind(token, &mut from, options, &self.behind, task)
                }
            };
            let moved = built.asked - from.count();
            match written {
                Ok(written) => {
                    assert_eq!(moved, written.bytes, "the cursor stands behind what landed")
                }
                // With O_SYNC the error comes after the bytes (W11).
                Err(_) => assert!(moved == 0 || options.sync().is_some(), "the cursor has moved"),
            }
            written.map(|written| written.bytes)
        })
    }

    /// By an old write path.
    fn write_then(
        &self,
        built: &Built,
        options: &WriteOptions,
        control: Control,
    ) -> Result<usize, Errno> {
        let request =
            Request { control, segments: &built.segments, options: *options, steps: PATIENCE };
        let file = ControlFile::new(&self.file);
        let written = syscall(|token| file.write(&request, token, &self.space, &NoTask));
        match written {
            Ok(written) => Ok(written.bytes),
            Err(Failure::Errno(errno)) => Err(errno),
            Err(Failure::Livelock) => panic!("W6: {control:?} never ends"),
        }
    }

    fn check_result(
        &mut self,
        at: usize,
        built: &Built,
        room: usize,
        sync: Option<SyncKind>,
        result: Result<usize, Errno>,
        excuses: &[Errno],
    ) {
        let (asked, synced) = (built.asked.min(room), sync.is_some());
        let end = at + asked;
        let overlaps = built.mapped.iter().any(|&(from, to)| from < end && at < to);
        // Such an error may be one of before.
        let may_tell = |errno| excuses.contains(&errno) || self.untold.contains(&errno);
        let failed_sync = synced && result.is_err_and(may_tell);
        if overlaps || failed_sync {
            // Which bytes of an overlap are copied when is not said (W13), nor how many bytes an
            // error of O_SYNC hides.
            if let (Ok(bytes), false) = (result, failed_sync) {
                let exact = bytes == built.readable.len() || !excuses.is_empty();
                assert!(exact && bytes <= built.readable.len(), "W1, W13: wrote {bytes}");
                assert_eq!(self.file.size(), self.pos(self.end().max(at + bytes)), "W3: size");
            }
            self.adopt(at..end);
        } else {
            self.contents.wrote(at, &built.readable, asked, result, excuses);
        }
        match result {
            Ok(bytes @ 1..) if synced => {
                self.durable.synced(&self.contents, at..at + bytes);
                self.untold.clear();
            }
            Err(_) if synced => self.durable.maybe_synced(&self.contents),
            _ => {}
        }
    }
}
