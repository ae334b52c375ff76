//! The table of system calls: one line each. What a call means is in `faultless-posix`, or in the
//! modules of the kernel; here are arguments and results.
//!
//! To add a call: a line in [`dispatch`], and its function in the module of its kind.
//!
//! | calls | module |
//! |---|---|
//! | reads, writes and what else is done with open files | `io` |
//! | from one open file to another | `between` |
//! | `open`, `close`, `dup`, `fcntl`, `pipe` | `descriptors` |
//! | `ioctl`; control messages of sockets | `control`, `ancillary` |
//! | advisory locks; files without a name | `locks`, `seals` |
//! | extended attributes | `extended` |
//! | names; what `stat` says of them; `access`, `chmod`, `chown`, `utimensat` | `names`, `stat`, `attributes` |
//! | `semget`, `msgget` and the like | `semaphores`, `queues` |
//! | `io_submit` and the like | `requests` |
//! | `mmap` and the like; `madvise` and `mlock`; `shmget` and the like | `mappings`, `advice`, `lock_limit`, `segments` |
//! | the memory of other processes | `remote` |
//! | whose the objects of System V are | `ipc` |
//! | processes and threads; what they ask for by `prctl` | `life`, `asked` |
//! | processes by descriptors | `pidfd` |
//! | signals | `signals` |
//! | time, futexes | `time` |
//! | `poll`, `select`; `epoll`, `eventfd`, `timerfd` | `poll`, `events` |
//! | timers | `timers` |
//! | priorities | `scheduling` |
//! | sockets; their options; what is sent along with bytes | `sockets`, `socket_options`, `control` |
//! | users, and what is refused | `users` |
//! | what the system is | `system` |

mod advice;
mod ancillary;
mod asked;
mod attributes;
mod between;
mod call;
mod control;
mod descriptors;
mod events;
mod extended;
mod io;
mod ipc;
mod life;
mod lock_limit;
mod locks;
mod mappings;
mod names;
mod pidfd;
mod poll;
mod queues;
mod remote;
mod requests;
mod scheduling;
mod seals;
mod segments;
mod semaphores;
mod signals;
mod socket_options;
mod sockets;
mod stat;
mod system;
mod time;
mod timers;
mod unknown;
mod users;

use core::sync::atomic::Ordering::Relaxed;

use alloc::format;
use alloc::string::String;

use faultless::prelude::MayFault;
use faultless_posix::Errno;
use syscalls::Sysno;

use crate::arch::serial::say;
use crate::arch::trap::TrapFrame;
use crate::boot::options::{Tracing, options};
use crate::calls::call::{Call, Outcome};
use crate::calls::extended::By;
use crate::calls::unknown::unknown;
use crate::calls::users::Which::{Groups, Users};
use crate::memory;
use crate::sched;

pub(crate) use locks::all_closed;
pub(crate) use semaphores::undo_semaphores;
pub(crate) use unknown::tell_unknown;

/// A system call, with interrupts on.
pub(crate) fn system_call(frame: &mut TrapFrame) {
    let number = frame.rax;
    let Some(process) = crate::process::current() else { return };
    let call = u32::try_from(number).ok().and_then(|number| Sysno::new(number as usize));
    // For calls that a signal interrupts: see `process::deliver`.
    frame.error = number.wrapping_add(1);
    let args = frame.arguments();
    let traces = options().trace == Tracing::On;
    let name = call.map_or_else(|| format!("call {number}"), |call| String::from(call.name()));
    if traces {
        let thread = sched::with_current(crate::sched::Thread::number);
        say!("{thread}: {name}({})", hexadecimal(&args));
    }
    let outcome = {
        // SAFETY: at the entry of a system call no lock is held, and there is no other token.
        let token = unsafe { MayFault::assert() };
        let mut call_state = Call { args, frame: &mut *frame, process, token };
        match call {
            Some(call) if begins(call) && memory::is_short(&mut call_state.token) => {
                Err(Errno::NOMEM)
            }
            Some(call) => dispatch(&mut call_state, call),
            None => unknown(number as usize),
        }
    };
    if traces {
        let thread = sched::with_current(crate::sched::Thread::number);
        match outcome {
            Ok(value) => say!("{thread}: {name} = {value:#x}"),
            Err(errno) => say!("{thread}: {name} = {errno:?}"),
        }
    }
    // A call that sets the registers returns what is in this one.
    frame.rax = Errno::to_raw(outcome) as u64;
}

fn hexadecimal(args: &[usize; 6]) -> String {
    args.map(|argument| format!("{argument:#x}")).join(", ")
}

/// Whether a call begins something that a program can have as often as it likes, and that takes the
/// kernel's memory: such a call fails when there is little left.
#[rustfmt::skip]
const fn begins(call: Sysno) -> bool {
    matches!(
        call,
        Sysno::open | Sysno::openat | Sysno::openat2 | Sysno::creat | Sysno::memfd_create
            | Sysno::dup | Sysno::dup2 | Sysno::dup3 | Sysno::fcntl | Sysno::flock
            | Sysno::pipe | Sysno::pipe2 | Sysno::socketpair | Sysno::socket | Sysno::connect
            | Sysno::sendto | Sysno::sendmsg | Sysno::sendmmsg | Sysno::poll | Sysno::ppoll
            | Sysno::epoll_create | Sysno::epoll_create1 | Sysno::epoll_ctl
            | Sysno::eventfd | Sysno::eventfd2 | Sysno::timerfd_create | Sysno::pidfd_open | Sysno::inotify_init | Sysno::inotify_init1 | Sysno::inotify_add_watch | Sysno::signalfd | Sysno::signalfd4
            | Sysno::mknod | Sysno::mknodat | Sysno::mkdir | Sysno::mkdirat | Sysno::symlink | Sysno::symlinkat
            | Sysno::link | Sysno::linkat | Sysno::rename | Sysno::renameat | Sysno::renameat2
            | Sysno::setxattr | Sysno::lsetxattr | Sysno::fsetxattr
            | Sysno::io_setup
            | Sysno::mmap | Sysno::remap_file_pages | Sysno::shmget | Sysno::semget | Sysno::msgget | Sysno::msgsnd | Sysno::shmat | Sysno::mremap | Sysno::mprotect | Sysno::timer_create
            | Sysno::clone | Sysno::clone3 | Sysno::fork | Sysno::vfork | Sysno::execve
            | Sysno::execveat
    )
}

#[rustfmt::skip]
fn dispatch(call: &mut Call<'_>, number: Sysno) -> Outcome {
    match number {
        Sysno::read => io::read(call),
        Sysno::write => io::write(call),
        Sysno::readv => io::readv(call),
        Sysno::writev => io::writev(call),
        Sysno::pread64 => io::pread(call),
        Sysno::pwrite64 => io::pwrite(call),
        Sysno::preadv => io::preadv(call),
        Sysno::pwritev => io::pwritev(call),
        Sysno::preadv2 => io::preadv2(call),
        Sysno::pwritev2 => io::pwritev2(call),
        Sysno::lseek => io::seek(call),
        Sysno::ftruncate => io::ftruncate(call),
        Sysno::truncate => io::truncate(call),
        Sysno::fallocate => io::fallocate(call),
        Sysno::fsync => io::fsync(call),
        Sysno::fdatasync => io::fdatasync(call),
        Sysno::sync => io::sync_all(call),
        Sysno::syncfs => io::syncfs(call),
        Sysno::sync_file_range => io::sync_file_range(call),
        Sysno::fadvise64 => io::fadvise(call),
        Sysno::readahead => io::readahead(call),
        Sysno::copy_file_range => between::copy_file_range(call),
        Sysno::sendfile => between::sendfile(call),
        Sysno::splice => between::splice(call),
        Sysno::tee => between::tee(call),
        Sysno::vmsplice => between::vmsplice(call),
        Sysno::ioctl => control::ioctl(call),
        Sysno::io_setup => requests::io_setup(call),
        Sysno::io_destroy => requests::io_destroy(call),
        Sysno::io_submit => requests::io_submit(call),
        Sysno::io_cancel => requests::io_cancel(call),
        Sysno::io_getevents => requests::io_getevents(call),
        Sysno::io_pgetevents => requests::io_pgetevents(call),

        Sysno::open => descriptors::open(call),
        Sysno::openat => descriptors::openat(call),
        Sysno::openat2 => descriptors::openat2(call),
        Sysno::creat => descriptors::creat(call),
        Sysno::close => descriptors::close(call),
        Sysno::close_range => descriptors::close_range(call),
        Sysno::dup => descriptors::dup(call),
        Sysno::dup2 => descriptors::dup2(call),
        Sysno::dup3 => descriptors::dup3(call),
        Sysno::fcntl => descriptors::fcntl(call),
        Sysno::pipe => descriptors::pipe(call),
        Sysno::pipe2 => descriptors::pipe2(call),
        Sysno::flock => locks::flock(call),
        Sysno::socketpair => sockets::socketpair(call),
        Sysno::shutdown => sockets::shutdown(call),
        Sysno::socket => sockets::socket(call),
        Sysno::bind => sockets::bind(call),
        Sysno::listen => sockets::listen(call),
        Sysno::connect => sockets::connect(call),
        Sysno::accept => sockets::accept(call),
        Sysno::accept4 => sockets::accept4(call),
        Sysno::getsockname => sockets::getsockname(call),
        Sysno::getpeername => sockets::getpeername(call),
        Sysno::getsockopt => socket_options::getsockopt(call),
        Sysno::setsockopt => socket_options::setsockopt(call),
        Sysno::sendmsg => sockets::sendmsg(call),
        Sysno::recvmsg => sockets::recvmsg(call),
        Sysno::recvfrom => sockets::recvfrom(call),
        Sysno::sendto => sockets::sendto(call),
        Sysno::sendmmsg => sockets::sendmmsg(call),
        Sysno::recvmmsg => sockets::recvmmsg(call),

        Sysno::mkdir => names::mkdir(call),
        Sysno::mkdirat => names::mkdirat(call),
        Sysno::mknod => names::mknod(call),
        Sysno::mknodat => names::mknodat(call),
        Sysno::rmdir => names::rmdir(call),
        Sysno::unlink => names::unlink(call),
        Sysno::unlinkat => names::unlinkat(call),
        Sysno::rename => names::rename(call),
        Sysno::renameat => names::renameat(call),
        Sysno::renameat2 => names::renameat(call),
        Sysno::link => names::link(call),
        Sysno::linkat => names::linkat(call),
        Sysno::symlink => names::symlink(call),
        Sysno::symlinkat => names::symlinkat(call),
        Sysno::readlink => names::readlink(call),
        Sysno::readlinkat => names::readlinkat(call),
        Sysno::getdents64 => names::getdents(call),
        Sysno::getdents => names::old_getdents(call),
        Sysno::getcwd => names::getcwd(call),
        Sysno::chdir => names::chdir(call),
        Sysno::fchdir => names::fchdir(call),
        Sysno::access => attributes::access(call),
        Sysno::faccessat | Sysno::faccessat2 => attributes::faccessat(call),
        Sysno::chmod => attributes::chmod(call),
        Sysno::fchmod => attributes::fchmod(call),
        Sysno::fchmodat => attributes::fchmodat(call),
        Sysno::fchmodat2 => attributes::fchmodat2(call),
        Sysno::chown => attributes::chown(call),
        Sysno::lchown => attributes::lchown(call),
        Sysno::fchown => attributes::fchown(call),
        Sysno::fchownat => attributes::fchownat(call),
        Sysno::utimensat => attributes::utimensat(call),
        Sysno::futimesat => attributes::futimesat(call),
        Sysno::utimes => attributes::utimes(call),
        Sysno::utime => attributes::utime(call),
        Sysno::umask => names::umask(call),

        Sysno::stat => stat::stat(call),
        Sysno::lstat => stat::lstat(call),
        Sysno::fstat => stat::fstat(call),
        Sysno::newfstatat => stat::fstatat(call),
        Sysno::statx => stat::statx(call),
        Sysno::statfs => stat::statfs(call),
        Sysno::fstatfs => stat::fstatfs(call),

        Sysno::mmap => mappings::mmap(call),
        Sysno::munmap => mappings::munmap(call),
        Sysno::mprotect => mappings::mprotect(call),
        Sysno::mremap => mappings::mremap(call),
        Sysno::remap_file_pages => mappings::remap_file_pages(call),
        Sysno::process_vm_readv => remote::process_vm_readv(call),
        Sysno::process_vm_writev => remote::process_vm_writev(call),
        Sysno::madvise => advice::madvise(call),
        Sysno::msync => mappings::msync(call),
        Sysno::mincore => mappings::mincore(call),
        Sysno::mlock => advice::mlock(call),
        Sysno::mlock2 => advice::mlock2(call),
        Sysno::munlock => advice::munlock(call),
        Sysno::mlockall => advice::mlockall(call),
        Sysno::munlockall => advice::munlockall(call),
        Sysno::brk => mappings::brk(call),
        Sysno::shmget => segments::shmget(call),
        Sysno::shmat => segments::shmat(call),
        Sysno::shmdt => segments::shmdt(call),
        Sysno::shmctl => segments::shmctl(call),
        Sysno::msgget => queues::msgget(call),
        Sysno::msgsnd => queues::msgsnd(call),
        Sysno::msgrcv => queues::msgrcv(call),
        Sysno::msgctl => queues::msgctl(call),
        Sysno::semget => semaphores::semget(call),
        Sysno::semop => semaphores::semop(call),
        Sysno::semtimedop => semaphores::semtimedop(call),
        Sysno::semctl => semaphores::semctl(call),

        Sysno::clone => life::clone(call),
        Sysno::clone3 => life::clone3(call),
        Sysno::fork => life::fork(call),
        Sysno::vfork => life::vfork(call),
        Sysno::unshare => life::unshare(call),
        Sysno::execve => life::execve(call),
        Sysno::execveat => life::execveat(call),
        Sysno::exit => life::exit(call),
        Sysno::exit_group => life::exit_group(call),
        Sysno::wait4 => life::wait4(call),
        Sysno::waitid => life::waitid(call),
        Sysno::pidfd_open => pidfd::pidfd_open(call),
        Sysno::pidfd_send_signal => pidfd::pidfd_send_signal(call),
        Sysno::pidfd_getfd => pidfd::pidfd_getfd(call),
        Sysno::getpid => Ok(call.process.number() as usize),
        Sysno::getppid => Ok(call.process.parent_number() as usize),
        Sysno::gettid => life::gettid(call),
        Sysno::getpgid => life::getpgid(call),
        Sysno::getpgrp => Ok(call.process.group.load(Relaxed) as usize),
        Sysno::setpgid => life::setpgid(call),
        Sysno::getsid => life::getsid(call),
        Sysno::setsid => life::setsid(call),
        Sysno::set_tid_address => life::set_tid_address(call),
        Sysno::set_robust_list => life::set_robust_list(call),
        Sysno::get_robust_list => life::get_robust_list(call),
        Sysno::arch_prctl => life::arch_prctl(call),
        Sysno::prctl => asked::prctl(call),

        Sysno::rt_sigaction => signals::sigaction(call),
        Sysno::rt_sigprocmask => signals::sigprocmask(call),
        Sysno::rt_sigreturn => signals::sigreturn(call),
        Sysno::rt_sigpending => signals::sigpending(call),
        Sysno::rt_sigsuspend => signals::sigsuspend(call),
        Sysno::sigaltstack => signals::sigaltstack(call),
        Sysno::rt_sigtimedwait => signals::sigtimedwait(call),
        Sysno::rt_sigqueueinfo => signals::sigqueueinfo(call),
        Sysno::rt_tgsigqueueinfo => signals::tgsigqueueinfo(call),
        Sysno::kill => signals::kill(call),
        Sysno::tkill => signals::tkill(call),
        Sysno::tgkill => signals::tgkill(call),
        Sysno::pause => signals::pause(),

        Sysno::futex => time::futex(call),
        Sysno::nanosleep => time::nanosleep(call),
        Sysno::clock_nanosleep => time::clock_nanosleep(call),
        Sysno::clock_gettime => time::clock_gettime(call),
        Sysno::clock_getres => time::clock_getres(call),
        Sysno::clock_settime => time::clock_settime(call),
        Sysno::settimeofday => time::settimeofday(call),
        Sysno::gettimeofday => time::gettimeofday(call),
        Sysno::time => time::time(call),
        Sysno::times => time::times(call),
        Sysno::poll => poll::poll(call),
        Sysno::ppoll => poll::ppoll(call),
        Sysno::select => poll::select(call),
        Sysno::pselect6 => poll::pselect(call),
        Sysno::epoll_create => events::epoll_create(call),
        Sysno::epoll_create1 => events::epoll_create1(call),
        Sysno::epoll_ctl => events::epoll_ctl(call),
        Sysno::epoll_wait => events::epoll_wait(call),
        Sysno::epoll_pwait => events::epoll_pwait(call),
        Sysno::epoll_pwait2 => events::epoll_pwait2(call),
        Sysno::eventfd => events::eventfd(call),
        Sysno::eventfd2 => events::eventfd2(call),
        Sysno::signalfd => events::signalfd(call),
        Sysno::signalfd4 => events::signalfd4(call),
        Sysno::inotify_init => events::inotify_init(call),
        Sysno::inotify_init1 => events::inotify_init1(call),
        Sysno::inotify_add_watch => events::inotify_add_watch(call),
        Sysno::inotify_rm_watch => events::inotify_rm_watch(call),
        Sysno::timerfd_create => events::timerfd_create(call),
        Sysno::timerfd_settime => events::timerfd_settime(call),
        Sysno::timerfd_gettime => events::timerfd_gettime(call),
        Sysno::getitimer => timers::getitimer(call),
        Sysno::setitimer => timers::setitimer(call),
        Sysno::alarm => timers::alarm(call),
        Sysno::timer_create => timers::timer_create(call),
        Sysno::timer_settime => timers::timer_settime(call),
        Sysno::timer_gettime => timers::timer_gettime(call),
        Sysno::timer_getoverrun => timers::timer_getoverrun(call),
        Sysno::timer_delete => timers::timer_delete(call),
        Sysno::sched_yield => time::sched_yield(call),

        Sysno::uname => system::uname(call),
        Sysno::sysinfo => system::sysinfo(call),
        Sysno::getrandom => system::getrandom(call),
        Sysno::getrlimit => system::getrlimit(call),
        Sysno::setrlimit => system::setrlimit(call),
        Sysno::prlimit64 => system::prlimit(call),
        Sysno::getrusage => system::getrusage(call),
        Sysno::sched_getaffinity => scheduling::sched_getaffinity(call),
        Sysno::sched_setaffinity => scheduling::sched_setaffinity(call),
        Sysno::sched_getscheduler => scheduling::sched_getscheduler(call),
        Sysno::sched_setscheduler => scheduling::sched_setscheduler(call),
        Sysno::sched_setparam => scheduling::sched_setparam(call),
        Sysno::sched_rr_get_interval => scheduling::sched_rr_get_interval(call),
        Sysno::sched_get_priority_max => scheduling::priority(call, 99),
        Sysno::sched_get_priority_min => scheduling::priority(call, 1),
        Sysno::adjtimex => system::adjtimex(call),
        Sysno::clock_adjtime => {
            call.args[0] = call.args[1];
            system::adjtimex(call)
        }
        Sysno::personality => system::personality(call),
        Sysno::sched_getparam => scheduling::sched_getparam(call),
        Sysno::setpriority => scheduling::setpriority(call),
        Sysno::getpriority => scheduling::getpriority(call),
        Sysno::memfd_create => descriptors::memfd_create(call),
        Sysno::getcpu => system::getcpu(call),

        Sysno::getuid => users::real(Users),
        Sysno::geteuid => users::effective(Users),
        Sysno::getgid => users::real(Groups),
        Sysno::getegid => users::effective(Groups),
        Sysno::setuid => users::set_one(call, Users),
        Sysno::setgid => users::set_one(call, Groups),
        Sysno::setreuid => users::set_two(call, Users),
        Sysno::setregid => users::set_two(call, Groups),
        Sysno::setresuid => users::set_three(call, Users),
        Sysno::setresgid => users::set_three(call, Groups),
        Sysno::setfsuid => users::set_file(call, Users),
        Sysno::setfsgid => users::set_file(call, Groups),
        Sysno::getresuid => users::three(call, Users),
        Sysno::getresgid => users::three(call, Groups),
        Sysno::getgroups => users::getgroups(call),
        Sysno::setgroups => users::setgroups(call),
        Sysno::capget => users::capget(call),
        Sysno::capset => users::capset(call),
        Sysno::mount | Sysno::umount2 | Sysno::pivot_root | Sysno::chroot | Sysno::acct
        | Sysno::swapon | Sysno::swapoff | Sysno::sethostname | Sysno::setdomainname
        | Sysno::reboot | Sysno::vhangup
        | Sysno::init_module | Sysno::delete_module | Sysno::quotactl => users::refused(),
        // Files are found by names alone.
        Sysno::name_to_handle_at | Sysno::open_by_handle_at => Err(Errno::OPNOTSUPP),
        Sysno::setxattr => extended::set_extended(call, By::Path),
        Sysno::lsetxattr => extended::set_extended(call, By::Link),
        Sysno::fsetxattr => extended::set_extended(call, By::Descriptor),
        Sysno::getxattr => extended::get_extended(call, By::Path),
        Sysno::lgetxattr => extended::get_extended(call, By::Link),
        Sysno::fgetxattr => extended::get_extended(call, By::Descriptor),
        Sysno::listxattr => extended::list_extended(call, By::Path),
        Sysno::llistxattr => extended::list_extended(call, By::Link),
        Sysno::flistxattr => extended::list_extended(call, By::Descriptor),
        Sysno::removexattr => extended::remove_extended(call, By::Path),
        Sysno::lremovexattr => extended::remove_extended(call, By::Link),
        Sysno::fremovexattr => extended::remove_extended(call, By::Descriptor),
        // Programs do without them.
        Sysno::rseq | Sysno::membarrier | Sysno::fanotify_init | Sysno::fanotify_mark => Err(Errno::NOSYS),
        _ => unknown(number as usize),
    }
}
