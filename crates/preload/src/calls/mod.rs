//! The system calls that this library knows: those on files of the folder, those on memory that
//! shows them, and those that change what the library relies on. All others are Linux's.

mod between;
mod io;
mod life;
mod memory;
mod names;
mod open;
mod stat;

use syscalls::Sysno;

use crate::call::{Call, Outcome};
use crate::clone;
use crate::signals;

/// Decides what becomes of a call.
pub(crate) fn dispatch(call: &mut Call<'_>) -> Outcome {
    let Some(number) = Sysno::new(call.number) else { return Outcome::Pass };
    match number {
        Sysno::read
        | Sysno::write
        | Sysno::pread64
        | Sysno::pwrite64
        | Sysno::readv
        | Sysno::writev
        | Sysno::preadv
        | Sysno::pwritev
        | Sysno::preadv2
        | Sysno::pwritev2 => io::transfer(call, number),
        Sysno::lseek
        | Sysno::ftruncate
        | Sysno::fsync
        | Sysno::fdatasync
        | Sysno::sync_file_range
        | Sysno::fallocate
        | Sysno::fadvise64 => io::on_file(call, number),
        Sysno::cachestat => io::cache_stat(call),
        Sysno::sendfile | Sysno::copy_file_range | Sysno::splice => between::between(call, number),
        Sysno::sync => io::sync_all(call),
        Sysno::syncfs => io::sync_files(call),
        Sysno::open | Sysno::creat | Sysno::openat | Sysno::openat2 => open::open(call, number),
        Sysno::close | Sysno::close_range => open::close(call, number),
        Sysno::dup | Sysno::dup2 | Sysno::dup3 => open::dup(call, number),
        Sysno::fcntl => open::fcntl(call),
        Sysno::stat | Sysno::lstat | Sysno::fstat | Sysno::newfstatat => stat::stat(call, number),
        Sysno::statx => stat::statx(call),
        Sysno::truncate => names::truncate(call),
        Sysno::unlink | Sysno::unlinkat => names::unlink(call, number),
        Sysno::rename | Sysno::renameat | Sysno::renameat2 => names::rename(call, number),
        Sysno::utimensat | Sysno::utime | Sysno::utimes | Sysno::futimesat => {
            names::set_times(call, number)
        }
        Sysno::chmod
        | Sysno::fchmod
        | Sysno::fchmodat
        | Sysno::chown
        | Sysno::fchown
        | Sysno::lchown
        | Sysno::fchownat
        | Sysno::link
        | Sysno::linkat => names::change(call, number),
        Sysno::getdents64 => names::list(call),
        Sysno::mmap => memory::map(call),
        Sysno::munmap => memory::unmap(call),
        Sysno::mprotect | Sysno::pkey_mprotect => memory::protect(call),
        Sysno::mremap => memory::remap(call),
        Sysno::madvise => memory::advise(call),
        Sysno::msync => memory::sync(call),
        Sysno::mincore => memory::resident(call),
        Sysno::mlock | Sysno::mlock2 | Sysno::munlock => memory::lock(call, number),
        Sysno::fork | Sysno::vfork => clone::fork(call),
        Sysno::clone => clone::clone(call),
        Sysno::clone3 => clone::clone3(call),
        Sysno::execve | Sysno::execveat => life::exec(call, number),
        Sysno::exit => life::exit_thread(call),
        Sysno::exit_group => life::exit(call),
        Sysno::kill | Sysno::tkill | Sysno::tgkill => life::kill(call, number),
        Sysno::rt_sigaction => signals::action(call),
        Sysno::rt_sigprocmask => signals::procmask(call),
        Sysno::sigaltstack => signals::altstack(call),
        Sysno::rt_sigsuspend => signals::with_mask(call, 0),
        Sysno::ppoll => signals::with_mask(call, 3),
        Sysno::epoll_pwait | Sysno::epoll_pwait2 => signals::with_mask(call, 4),
        Sysno::pselect6 => signals::pselect(call),
        Sysno::rt_sigreturn => signals::sigreturn(call),
        // Asynchronous I/O on files of the folder would be Linux's: programs do without it.
        Sysno::io_setup | Sysno::io_uring_setup => Outcome::Done(-(libc::ENOSYS as isize)),
        _ => Outcome::Pass,
    }
}
