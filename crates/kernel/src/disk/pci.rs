//! The configuration space of PCI devices, by the two ports that every PC has.

use virtio_drivers::transport::pci::bus::{Command, ConfigurationAccess, DeviceFunction, PciRoot};
use virtio_drivers::transport::pci::virtio_device_type;
use virtio_drivers::transport::{DeviceType, pci::PciTransport};
use x86_64::instructions::port::Port;

use crate::disk::hal::Direct;
use crate::sync::Lock;

/// The register that selects a word of a device's configuration, and the word.
const ADDRESS: u16 = 0xcf8;
const DATA: u16 = 0xcfc;

/// Where the configuration has the line of the device's interrupt, as the firmware has routed it.
const INTERRUPT_LINE: u8 = 0x3c;

/// The two ports are used together.
static PORTS: Lock<()> = Lock::new(());

/// Access by ports.
pub(super) struct Ports;

/// Selects a word, and calls `access` with its port.
fn with_word<R>(at: DeviceFunction, register: u8, access: impl FnOnce(Port<u32>) -> R) -> R {
    let DeviceFunction { bus, device, function } = at;
    let place = u32::from(bus) << 16 | u32::from(device) << 11 | u32::from(function) << 8;
    let _both = PORTS.lock();
    // SAFETY: selects, with the lock held.
    unsafe { Port::<u32>::new(ADDRESS).write(1 << 31 | place | u32::from(register & !3)) };
    access(Port::new(DATA))
}

impl ConfigurationAccess for Ports {
    fn read_word(&self, at: DeviceFunction, register: u8) -> u32 {
        // SAFETY: reads the selected word, which changes nothing.
        with_word(at, register, |mut word| unsafe { word.read() })
    }

    fn write_word(&mut self, at: DeviceFunction, register: u8, data: u32) {
        // SAFETY: the caller's: the configuration of a device that is being set up.
        with_word(at, register, |mut word| unsafe { word.write(data) });
    }

    unsafe fn unsafe_clone(&self) -> Self {
        Self
    }
}

/// The first virtio block device, and the line that it interrupts.
pub(super) fn find() -> Option<(PciTransport, u8)> {
    let mut root = PciRoot::new(Ports);
    let is_disk = |info: &_| virtio_device_type(info) == Some(DeviceType::Block);
    let (at, _info) = root.enumerate_bus(0).find(|(_, info)| is_disk(info))?;
    // It may write memory.
    let (_status, command) = root.get_status_command(at);
    root.set_command(at, command | Command::MEMORY_SPACE | Command::BUS_MASTER);
    let line = Ports.read_word(at, INTERRUPT_LINE) as u8;
    let transport = PciTransport::new::<Direct, _>(&mut root, at).ok()?;
    Some((transport, line))
}
