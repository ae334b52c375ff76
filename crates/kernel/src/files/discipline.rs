//! What a terminal makes of keys: lines that can be edited, an echo, signals (`termios`).
#![forbid(unsafe_code)]

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use linux_raw_sys::general as linux;

/// Bytes of a `struct termios`, and places of keys in it.
pub(super) const TERMIOS: usize = 36;
const KEYS: usize = 19;

/// Typed bytes that are kept at most.
const MOST: usize = 4096;

/// How a terminal is set (`struct termios`).
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    input: u32,
    output: u32,
    control: u32,
    local: u32,
    line: u8,
    keys: [u8; KEYS],
}

impl Settings {
    /// As Linux has them at first: lines, with an echo.
    const fn new() -> Self {
        let keys = [3, 28, 127, 21, 4, 0, 1, 0, 17, 19, 26, 0, 18, 15, 23, 22, 0, 0, 0];
        Self { input: 0x500, output: 0x5, control: 0xbf, local: 0x8a3b, line: 0, keys }
    }

    pub(super) fn from_bytes(bytes: &[u8; TERMIOS]) -> Self {
        let word =
            |at: usize| bytes[at..].first_chunk().map_or(0, |bytes| u32::from_ne_bytes(*bytes));
        let mut keys = [0; KEYS];
        keys.copy_from_slice(&bytes[17..]);
        let [input, output, control, local] = [0, 4, 8, 12].map(word);
        Self { input, output, control, local, line: bytes[16], keys }
    }

    pub(super) fn bytes(&self) -> [u8; TERMIOS] {
        let mut bytes = [0; TERMIOS];
        let words = [self.input, self.output, self.control, self.local];
        for (place, word) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(words) {
            *place = word.to_ne_bytes();
        }
        bytes[16] = self.line;
        bytes[17..].copy_from_slice(&self.keys);
        bytes
    }

    const fn has(&self, local: u32) -> bool {
        self.local & local != 0
    }

    /// Whether a byte is this key. A key that is 0 is none.
    const fn is_key(&self, key: u32, byte: u8) -> bool {
        byte != 0 && self.keys[key as usize] == byte
    }

    /// The signal that a key sends.
    fn signal(&self, byte: u8) -> Option<u32> {
        let signals = [
            (linux::VINTR, linux::SIGINT),
            (linux::VQUIT, linux::SIGQUIT),
            (linux::VSUSP, linux::SIGTSTP),
        ];
        let found = signals.into_iter().find(|(key, _)| self.is_key(*key, byte));
        found.filter(|_| self.has(linux::ISIG)).map(|(_, signal)| signal)
    }
}

/// What was typed at a terminal.
#[derive(Debug)]
pub(super) struct Discipline {
    pub(super) settings: Settings,
    /// Bytes are edited, echoed, and send signals as the settings say; else all are input.
    pub(super) edits: bool,
    /// What can be read: lines, of which one without bytes is an end; else bytes, in one piece.
    ready: VecDeque<Vec<u8>>,
    /// The line that is not ended yet.
    line: Vec<u8>,
}

impl Discipline {
    pub(super) const fn new() -> Self {
        Self { settings: Settings::new(), edits: false, ready: VecDeque::new(), line: Vec::new() }
    }

    const fn has_lines(&self) -> bool {
        self.edits && self.settings.has(linux::ICANON)
    }

    /// Takes a byte that was typed; the signal that it sends. What is to be seen of it is put to
    /// `echo`.
    pub(super) fn typed(&mut self, byte: u8, echo: &mut Vec<u8>) -> Option<u32> {
        let byte = match byte {
            _ if !self.edits => byte,
            b'\r' if self.settings.input & linux::IGNCR != 0 => return None,
            b'\r' if self.settings.input & linux::ICRNL != 0 => b'\n',
            b'\n' if self.settings.input & linux::INLCR != 0 => b'\r',
            byte => byte,
        };
        if self.edits
            && let Some(signal) = self.settings.signal(byte)
        {
            if !self.settings.has(linux::NOFLSH) {
                self.flush();
            }
            self.show(byte, echo);
            return Some(signal);
        }
        if self.has_lines() {
            self.edit(byte, echo);
        } else if self.count() < MOST {
            match self.ready.back_mut() {
                Some(bytes) => bytes.push(byte),
                None => self.ready.push_back(alloc::vec![byte]),
            }
            self.show(byte, echo);
        }
        None
    }

    fn edit(&mut self, byte: u8, echo: &mut Vec<u8>) {
        let settings = self.settings;
        if settings.is_key(linux::VERASE, byte) {
            if self.line.pop().is_some() && settings.has(linux::ECHO) {
                echo.extend_from_slice(b"\x08 \x08");
            }
        } else if settings.is_key(linux::VKILL, byte) {
            self.line.clear();
            if settings.has(linux::ECHO) {
                echo.push(b'\n');
            }
        } else if settings.is_key(linux::VEOF, byte) {
            self.end_line();
        } else if byte == b'\n' || settings.is_key(linux::VEOL, byte) {
            self.line.push(byte);
            self.end_line();
            if settings.has(linux::ECHO | linux::ECHONL) {
                echo.push(byte);
            }
        } else if self.count() < MOST {
            self.line.push(byte);
            self.show(byte, echo);
        }
    }

    fn end_line(&mut self) {
        let line = core::mem::take(&mut self.line);
        self.ready.push_back(line);
    }

    /// Echoes a byte; a control character as a letter.
    fn show(&self, byte: u8, echo: &mut Vec<u8>) {
        if !self.edits || !self.settings.has(linux::ECHO) {
            return;
        }
        if byte < b' ' && byte != b'\n' && byte != b'\t' {
            echo.extend_from_slice(&[b'^', byte + b'@']);
        } else {
            echo.push(byte);
        }
    }

    /// Bytes that are kept.
    fn count(&self) -> usize {
        self.line.len() + self.readable()
    }

    /// Bytes that can be read.
    pub(super) fn readable(&self) -> usize {
        self.ready.iter().map(Vec::len).sum()
    }

    /// Whether a read need not wait: for less than a line, or nothing, if the settings say so.
    pub(super) fn is_ready(&self) -> bool {
        let reads_nothing = self.edits && self.settings.keys[linux::VMIN as usize] == 0;
        !self.ready.is_empty() || (!self.has_lines() && reads_nothing)
    }

    /// Whether there is something to be read.
    pub(super) fn has_input(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Takes what is read, into `bytes`; how much. Of lines one at a time.
    pub(super) fn take(&mut self, bytes: &mut [u8]) -> usize {
        let Some(first) = self.ready.front_mut() else { return 0 };
        let len = first.len().min(bytes.len());
        bytes[..len].copy_from_slice(&first[..len]);
        first.drain(..len);
        if first.is_empty() {
            self.ready.pop_front();
        }
        len
    }

    /// Changes the settings. What was typed of a line can be read if there are no lines any more.
    pub(super) fn set(&mut self, settings: Settings) {
        self.settings = settings;
        if !self.has_lines() {
            let mut bytes: Vec<u8> = self.ready.drain(..).flatten().collect();
            bytes.append(&mut self.line);
            self.ready.extend((!bytes.is_empty()).then_some(bytes));
        }
    }

    /// Forgets what was typed.
    pub(super) fn flush(&mut self) {
        self.ready.clear();
        self.line.clear();
    }
}
