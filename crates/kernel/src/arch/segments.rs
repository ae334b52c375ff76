//! Segments and the task state of each CPU.

use spin::Once;
use x86_64::VirtAddr;
use x86_64::instructions::segmentation::{CS, DS, ES, SS, Segment};
use x86_64::instructions::tables::load_tss;
use x86_64::structures::gdt::{Descriptor, GlobalDescriptorTable};
use x86_64::structures::tss::TaskStateSegment;

use crate::arch::percpu::MAX_CPUS;

/// Selectors, as the order of [`init`] makes them.
pub(super) const KERNEL_CODE: u16 = 0x08;
pub(super) const KERNEL_DATA: u16 = 0x10;
pub(crate) const USER_DATA: u16 = 0x18 | 3;
pub(crate) const USER_CODE: u16 = 0x20 | 3;

/// The stack of the interrupt stack table on which all traps begin. Trap entry moves to the
/// thread's own stack at once. It must not begin there: the precompiled core library keeps data
/// below the stack pointer (the red zone), where the CPU would push.
pub(super) const TRAP_STACK: u16 = 0;
/// That of a double fault.
pub(super) const DOUBLE_FAULT_STACK: u16 = 1;

const STACK: usize = 8 * 1024;

#[repr(align(16))]
#[expect(dead_code, reason = "the CPU uses it")]
struct Stack([u8; STACK]);

/// Stacks of the interrupt stack table, two for each CPU.
static mut STACKS: [[Stack; 2]; MAX_CPUS] = [const { [const { Stack([0; STACK]) }; 2] }; MAX_CPUS];

static TASKS: [Once<TaskStateSegment>; MAX_CPUS] = [const { Once::new() }; MAX_CPUS];
static TABLES: [Once<GlobalDescriptorTable>; MAX_CPUS] = [const { Once::new() }; MAX_CPUS];

/// Loads the segments of CPU `cpu`, which this is.
pub(super) fn init(cpu: usize) {
    let task = TASKS[cpu].call_once(|| {
        let mut task = TaskStateSegment::new();
        for which in [TRAP_STACK, DOUBLE_FAULT_STACK] {
            let stack = (&raw const STACKS).cast::<Stack>().wrapping_add(2 * cpu + which as usize);
            let top = stack.wrapping_add(1);
            task.interrupt_stack_table[which as usize] = VirtAddr::from_ptr(top);
        }
        task
    });
    let mut selectors = [0; 5];
    let table = TABLES[cpu].call_once(|| {
        let mut table = GlobalDescriptorTable::new();
        let descriptors = [
            Descriptor::kernel_code_segment(),
            Descriptor::kernel_data_segment(),
            Descriptor::user_data_segment(),
            Descriptor::user_code_segment(),
            Descriptor::tss_segment(task),
        ];
        selectors = descriptors.map(|descriptor| table.append(descriptor).0);
        table
    });
    let [code, data, user_data, user_code, state] = selectors;
    assert_eq!(
        [code, data, user_data, user_code],
        [KERNEL_CODE, KERNEL_DATA, USER_DATA, USER_CODE],
        "the selectors that the entry code uses"
    );
    table.load();
    let selector = x86_64::structures::gdt::SegmentSelector;
    // SAFETY: a 64-bit code segment of privilege level 0.
    unsafe { CS::set_reg(selector(code)) };
    // SAFETY: a data segment, whose base and limit do not matter.
    unsafe { SS::set_reg(selector(data)) };
    // SAFETY: as above.
    unsafe { DS::set_reg(selector(0)) };
    // SAFETY: as above.
    unsafe { ES::set_reg(selector(0)) };
    // SAFETY: the descriptor is that of a task state that stays.
    unsafe { load_tss(selector(state)) };
}
