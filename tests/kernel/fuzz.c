// Random system calls with random arguments, from two threads of each of two processes at a time.
// A process may do to itself what it likes: it is killed after a while, and the next one begins.
// Nothing is compared: the kernel must stay alive, and a killed process must end.
//
// Arguments: a seed, a number of processes, seconds after which no more begin (0: no limit), and
// two folders, which the processes begin in by turns.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096L

enum { AT_A_TIME = 2, CALLS = 4000, LIFE_MS = 300, MAPPED = 64 };

// The program itself is not among them: a process that cuts it off ends all of them.
static const char *const names[] = {"a", "b", "d/c", "d", "/dev/zero", "/dev/null", "/dev/full", "/dev/urandom",
    "/proc/self/maps", "/proc/self/status", ".", "..", "", "nowhere/x", "a/b", "e"};

// Calls that are drawn. Left out are those by which a process would leave its group, or signal
// others.
static const short calls[] = {
    SYS_read, SYS_write, SYS_readv, SYS_writev, SYS_pread64, SYS_pwrite64, SYS_preadv, SYS_pwritev, SYS_preadv2,
    SYS_pwritev2, SYS_lseek, SYS_ftruncate, SYS_truncate, SYS_fallocate, SYS_fsync, SYS_fdatasync, SYS_sync,
    SYS_syncfs, SYS_sync_file_range, SYS_fadvise64, SYS_copy_file_range, SYS_sendfile, SYS_ioctl, SYS_open,
    SYS_openat, SYS_creat, SYS_close, SYS_close_range, SYS_dup, SYS_dup2, SYS_dup3, SYS_fcntl, SYS_pipe, SYS_pipe2,
    SYS_unlink, SYS_unlinkat, SYS_rename, SYS_renameat2, SYS_link, SYS_linkat, SYS_symlink, SYS_symlinkat, SYS_mkdir,
    SYS_mkdirat, SYS_rmdir, SYS_readlink, SYS_readlinkat, SYS_getdents64, SYS_getcwd, SYS_chdir, SYS_fchdir,
    SYS_access, SYS_faccessat, SYS_chmod, SYS_fchmod, SYS_fchmodat, SYS_chown, SYS_utimensat, SYS_umask, SYS_stat,
    SYS_lstat, SYS_fstat, SYS_newfstatat, SYS_statx, SYS_statfs, SYS_fstatfs, SYS_mmap, SYS_munmap, SYS_mprotect,
    SYS_mremap, SYS_madvise, SYS_msync, SYS_mincore, SYS_mlock, SYS_munlock, SYS_mlockall, SYS_brk, SYS_wait4,
    SYS_waitid, SYS_getpgid, SYS_set_tid_address, SYS_set_robust_list, SYS_arch_prctl, SYS_prctl, SYS_rt_sigaction,
    SYS_rt_sigprocmask, SYS_rt_sigreturn, SYS_rt_sigpending, SYS_rt_sigsuspend, SYS_sigaltstack, SYS_pause, SYS_futex,
    SYS_nanosleep, SYS_clock_nanosleep, SYS_clock_gettime, SYS_gettimeofday, SYS_times, SYS_poll, SYS_ppoll,
    SYS_sched_yield, SYS_uname, SYS_sysinfo, SYS_getrandom, SYS_getrlimit, SYS_setrlimit, SYS_prlimit64,
    SYS_getrusage, SYS_sched_getaffinity, SYS_getcpu, SYS_execve, SYS_setitimer, SYS_alarm, SYS_select, SYS_flock};

// More of what the cache is about.
static const short often[] = {SYS_read, SYS_write, SYS_pread64, SYS_pwrite64, SYS_writev, SYS_ftruncate, SYS_mmap,
    SYS_munmap, SYS_mprotect, SYS_mremap, SYS_madvise, SYS_openat, SYS_fallocate, SYS_msync, SYS_pwritev2};

static char *buffer, *map;

static uint64_t next(uint64_t *state) {
    *state ^= *state << 13, *state ^= *state >> 7, *state ^= *state << 17;
    return *state;
}

static uint64_t below(uint64_t *state, uint64_t end) { return (next(state) >> 16) % end; }

// Something that may be a pointer, a length, a descriptor or flags.
static long argument(uint64_t *state) {
    static const unsigned long odd[] = {0, 1, 8, 0x7ffffffff000, 0x7fffffffffff, 0x800000000000, 0xffff800000000000,
        0xffffffff80000000, 0xffffffff80200000, 0xfffffffffffff000, ~0UL, 1UL << 31, 1UL << 32, 1UL << 62, 1UL << 63};
    switch (below(state, 12)) {
    case 0: return (long)odd[below(state, sizeof odd / sizeof *odd)];
    case 1: return (long)below(state, 16);
    case 2: return 3 + (long)below(state, 12);
    case 3: return (long)(buffer + below(state, 4 * PAGE));
    case 4: return (long)(buffer + 4 * PAGE - below(state, 64));
    case 5: return (long)(map + below(state, MAPPED) * PAGE + below(state, 2) * below(state, PAGE));
    case 6: return (long)(map + below(state, MAPPED * PAGE));
    case 7: return (long)(below(state, 16) * PAGE);
    case 8: return (long)(1L << below(state, 64));
    case 9: return (long)names[below(state, sizeof names / sizeof *names)];
    case 10: return (long)below(state, 70000);
    default: return (long)next(state) >> below(state, 64);
    }
}

static void call(uint64_t *state) {
    long number = below(state, 3) ? often[below(state, sizeof often / sizeof *often)] : calls[below(state, sizeof calls / sizeof *calls)];
    long a[6];
    for (int at = 0; at < 6; at++) a[at] = argument(state);
    // Most calls take a descriptor or a name first: give them one that is there.
    if (below(state, 2)) a[0] = 3 + (long)below(state, 8);
    // Memory that is short ends the first process, too, and with it the run.
    if (number == SYS_mmap || number == SYS_mremap) {
        a[1] &= 0xfffff, a[2] &= number == SYS_mremap ? 0xfffff : 0xff;
        if (number == SYS_mmap) a[3] &= ~MAP_NORESERVE;
    }
    if (number == SYS_setrlimit || number == SYS_prlimit64) a[number == SYS_setrlimit ? 1 : 2] = 0;
    if (number == SYS_brk) a[0] = 0;
    // These end a process soon.
    static const short seldom[] = {SYS_rt_sigreturn, SYS_arch_prctl, SYS_execve};
    for (unsigned at = 0; at < sizeof seldom / sizeof *seldom; at++) {
        if (number == seldom[at] && below(state, 10)) return;
    }
    // A process that unmaps its own code ends soon.
    if ((number == SYS_munmap || number == SYS_mprotect || number == SYS_mremap || number == SYS_madvise) && below(state, 50)) {
        a[0] = (long)(map + below(state, MAPPED) * PAGE), a[1] = (long)(below(state, 8) * PAGE + below(state, 2));
    }
    if ((number == SYS_rt_sigprocmask || number == SYS_rt_sigaction || number == SYS_close_range) && below(state, 4)) return;
    if (number == SYS_openat && below(state, 2)) a[0] = AT_FDCWD, a[1] = (long)names[below(state, 4)], a[2] = O_RDWR | O_CREAT, a[3] = 0666;
    if (number == SYS_mmap && below(state, 2)) a[0] = 0, a[2] &= 7, a[3] = 1 + (long)below(state, 2), a[4] = 3 + (long)below(state, 8), a[5] &= ~(PAGE - 1);
    if ((number == SYS_pwrite64 || number == SYS_pread64) && below(state, 2)) a[2] &= 0x3fff, a[3] &= 0x3ffff;
    if ((number == SYS_fallocate || number == SYS_ftruncate || number == SYS_truncate) && below(state, 4)) a[1] &= 0x7ffff, a[2] &= 0x7ffff, a[3] &= 0x7ffff;
    syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

static void *calls_of(void *seed) {
    uint64_t state = (uint64_t)(uintptr_t)seed;
    for (int number = 0; number < CALLS; number++) {
        call(&state);
        if (below(&state, 200) == 0 && syscall(SYS_fork) == 0) {
            for (int more = 0; more < 20; more++) call(&state);
            syscall(SYS_exit_group, 0);
        }
        if (below(&state, 2000) == 0) *(volatile char *)argument(&state) = 1;
    }
    return 0;
}

// What a process does with its life.
static void live(uint64_t seed) {
    pthread_t other;
    struct rlimit limit = {8 << 20, 8 << 20};
    setrlimit(RLIMIT_FSIZE, &limit);
    signal(SIGXFSZ, SIG_IGN);
    int null = open("/dev/null", O_RDWR);
    for (int descriptor = 0; descriptor < 3; descriptor++) {
        if (dup2(null, descriptor) < 0) _exit(1);
    }
    mkdir("d", 0777);
    for (int number = 0; number < 4; number++) open(names[number], O_RDWR | O_CREAT, 0666);
    int fd = open("a", O_RDWR | O_CREAT, 0666);
    if (ftruncate(fd, MAPPED / 2 * PAGE)) _exit(1);
    buffer = mmap(0, 5 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    map = mmap(0, MAPPED * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (buffer == MAP_FAILED || map == MAP_FAILED) _exit(1);
    munmap(buffer + 4 * PAGE, PAGE);
    // Vectors, structures and names of sorts.
    for (long at = 0; at < 4 * PAGE / 8; at++) ((long *)buffer)[at] = argument(&seed);
    strcpy(buffer + 100, "a");
    pthread_create(&other, 0, calls_of, (void *)(uintptr_t)(next(&seed) | 1));
    calls_of((void *)(uintptr_t)(next(&seed) | 1));
    _exit(0);
}

static long milliseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

// What earlier processes have left takes memory.
static void clean(void) {
    static const char *const left[] = {"a", "b", "d/c", "d", "e"};
    for (unsigned at = 0; at < sizeof left / sizeof *left; at++) {
        truncate(left[at], 0);
        unlink(left[at]);
        rmdir(left[at]);
    }
}

int main(int count, char **arguments) {
    struct utsname system;
    if (count != 6) return 2;
    uname(&system);
    // What is drawn may destroy the files of a real system.
    if (!strstr(system.release, "faultless")) return 3;
    uint64_t seed = strtoul(arguments[1], 0, 0) * 2 + 1;
    long processes = atol(arguments[2]), end = milliseconds() + atol(arguments[3]) * 1000;
    long begun = 0, killed = 0, signalled = 0;
    for (int at = 0; at < 20; at++) next(&seed);
    while (begun < processes && (atol(arguments[3]) == 0 || milliseconds() < end)) {
        pid_t running[AT_A_TIME];
        if (chdir(arguments[4 + begun / AT_A_TIME % 2])) return 4;
        for (int at = 0; at < AT_A_TIME; at++) {
            uint64_t its = next(&seed);
            running[at] = fork();
            if (running[at] == 0) {
                setpgid(0, 0);
                live(its);
            }
            begun += running[at] > 0;
        }
        long until = milliseconds() + LIFE_MS;
        for (int at = 0; at < AT_A_TIME; at++) {
            int status = 0;
            pid_t ended;
            while ((ended = waitpid(running[at], &status, WNOHANG)) == 0 && milliseconds() < until) usleep(2000);
            kill(-running[at], SIGKILL);
            if (ended == 0) waitpid(running[at], &status, 0), killed++;
            else signalled += WIFSIGNALED(status);
        }
        while (waitpid(-1, 0, WNOHANG) > 0) {}
        clean();
    }
    printf("%ld processes: %ld killed, %ld ended by a signal of their own\n", begun, killed, signalled);
    return 0;
}
