//! Serial ports: the console, the kernel's own messages, and the status of the run.

use core::fmt::{self, Write};

use uart_16550::SerialPort;
use x86_64::instructions::port::Port;

use crate::sync::Lock;

/// What programs print, and read.
static CONSOLE: Lock<Serial> = Lock::new(Serial::new(0x3f8));
/// What the kernel has to say.
static MESSAGES: Lock<Serial> = Lock::new(Serial::new(0x2f8));
/// One line: how the first program ended.
static STATUS: Lock<Serial> = Lock::new(Serial::new(0x3e8));

/// QEMU's `isa-debug-exit`.
const EXIT_PORT: u16 = 0xf4;

/// Bytes that are sent in one hold of the lock.
const PIECE: usize = 32;

struct Serial(SerialPort);

impl Serial {
    const fn new(base: u16) -> Self {
        // SAFETY: the standard addresses of the ports.
        Self(unsafe { SerialPort::new(base) })
    }
}

impl Write for Serial {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.bytes().for_each(|byte| self.0.send_raw(byte));
        Ok(())
    }
}

/// Sets the ports up.
pub(crate) fn init() {
    for port in [&CONSOLE, &MESSAGES, &STATUS] {
        port.lock().0.init();
    }
}

/// Prints bytes of a program.
pub(crate) fn print(bytes: &[u8]) {
    for piece in bytes.chunks(PIECE) {
        let mut console = CONSOLE.lock();
        piece.iter().for_each(|byte| console.0.send_raw(*byte));
    }
}

/// A byte that was typed.
pub(crate) fn read() -> Option<u8> {
    CONSOLE.lock().0.try_receive().ok()
}

/// Prints a line of the kernel's.
pub(crate) fn message(text: fmt::Arguments<'_>) {
    let mut port = MESSAGES.lock();
    // A serial port takes everything.
    let _taken = writeln!(port, "{text}");
}

/// A byte that came by the port of the messages: a request of the machine's owner.
pub(crate) fn request() -> Option<u8> {
    MESSAGES.lock().0.try_receive().ok()
}

/// As [`message`], also if this CPU was interrupted in one: for a panic.
pub(crate) fn last_message(text: fmt::Arguments<'_>) {
    let mut port = Serial::new(0x2f8);
    let _taken = writeln!(port, "{text}");
}

/// Ends the run with the status of the first program.
pub(crate) fn end(status: u32) -> ! {
    let _taken = writeln!(Serial::new(0x3e8), "{status}");
    loop {
        // SAFETY: ends QEMU; on other machines there is no such port.
        unsafe { Port::<u32>::new(EXIT_PORT).write(0) };
        x86_64::instructions::hlt();
    }
}

/// Prints a line of the kernel's: as `println!`.
macro_rules! say {
    ($($arguments:tt)*) => { $crate::arch::serial::message(format_args!($($arguments)*)) };
}
pub(crate) use say;
