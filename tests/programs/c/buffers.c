// Calls of Linux's with buffers, names and structures in mappings of files.
#include "common.h"
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/utsname.h>

enum { PAGES = 32 };

static int fd;
static char *map;

// A place in a mapping of pages that are nowhere, with bytes on either side of a border.
static void *place(long page) {
    munmap(map, PAGES * PAGE);
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    map = (void *)MUST((long)mmap(map, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0));
    return map + page * PAGE - 8;
}

static char *text(long page, const char *text) {
    char *at = place(page);
    strcpy(at, text);
    fsync(fd);
    return place(page);
}

int main(void) {
    fd = cold_file("buffers", PAGES * PAGE);
    map = (void *)MUST((long)mmap(0, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    int other = cold_file("other", PAGE);
    MUST(mkdir("a-folder-of-some-length", 0755));
    MUST(chdir(text(3, "a-folder-of-some-length")));
    char *cwd = place(5);
    CHECK(syscall(SYS_getcwd, cwd, 4000) > 0);
    printf("%s\n", strrchr(cwd, '/'));
    MUST(chdir(".."));
    MUST(symlink("target-of-the-link", text(7, "link-with-a-name")));
    char *target = place(9);
    told("readlink", readlink("link-with-a-name", target, 100));
    printf("%.18s\n", target);
    struct stat *status = place(4);
    MUST(stat("other", status));
    printf("size %ld\n", (long)status->st_size);
    MUST(lstat(text(4, "link-with-a-name"), place(6)));
    MUST(rename(text(4, "link-with-a-name"), "renamed-link"));
    MUST(unlink(text(4, "renamed-link")));
    MUST(link(text(4, "other"), "other-name"));
    MUST(rename(text(4, "other-name"), "other-other"));
    MUST(unlink(text(4, "other-other")));
    told("access", access(text(4, "nothing-of-that-name"), F_OK));
    struct timespec *now = place(2);
    MUST(syscall(SYS_clock_gettime, CLOCK_REALTIME, now));
    CHECK(now->tv_sec > 1000000000);
    struct utsname *name = place(2);
    MUST(uname(name));
    printf("%s\n", name->sysname);
    MUST(getrlimit(RLIMIT_NOFILE, place(2)));
    MUST(syscall(SYS_getrandom, place(2), 100, 0));
    // Pipes, and vectors of which everything is in the mapping.
    int *ends = place(2);
    MUST(pipe(ends));
    int in = ends[0], out = ends[1];
    told("write", write(out, text(2, "some bytes for a pipe"), 21));
    told("ioctl", ioctl(in, FIONREAD, place(6)));
    struct pollfd *polled = place(6);
    *polled = (struct pollfd){in, POLLIN, 0};
    fsync(fd);
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    told("poll", poll(polled, 1, 0));
    told("events", polled->revents);
    told("read", read(in, place(2), 21));
    int *pair = place(2);
    MUST(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair));
    int one = pair[0], two = pair[1];
    for (int round = 0; round < 20; round++) {
        struct iovec *vector = place(12);
        vector[0] = (struct iovec){map + 14 * PAGE - 30, 60};
        vector[1] = (struct iovec){map + 16 * PAGE - 30, 3 * PAGE};
        strcpy(map + 14 * PAGE - 30, "a message in a mapping");
        struct msghdr *header = (void *)(map + 20 * PAGE - 16);
        *header = (struct msghdr){.msg_iov = vector, .msg_iovlen = 2};
        place(0);
        CHECK(sendmsg(one, header, 0) == 60 + 3 * PAGE);
        place(0);
        CHECK(recvmsg(two, header, 0) == 60 + 3 * PAGE);
        place(0);
        CHECK(writev(out, vector, 1) == 60);
        place(0);
        CHECK(readv(in, vector, 1) == 60);
        CHECK(send(one, place(14), 10 * PAGE, 0) == 10 * PAGE);
        CHECK(recv(two, place(14), 10 * PAGE, 0) == 10 * PAGE);
    }
    printf("%.22s\n", map + 14 * PAGE - 30);
    // A signal mask in the mapping. The registers of the call stay as they are.
    sigset_t *mask = place(8);
    sigemptyset(mask);
    register long r10 __asm__("r10") = (long)place(8), r8 __asm__("r8") = 8, rdx __asm__("rdx") = r10, result;
    __asm__ volatile("syscall" : "=a"(result), "+r"(r10), "+r"(r8), "+r"(rdx) : "a"(SYS_ppoll), "D"(0), "S"(0) : "rcx", "r11", "memory");
    CHECK((char *)r10 == map + 8 * PAGE - 8 && r8 == 8 && rdx == r10);
    struct timeval *time = place(8);
    *time = (struct timeval){0, 1000};
    told("select", select(0, 0, 0, 0, time));
    // A child, its status, and what it is started with.
    int *code = place(8);
    pid_t child = MUST(fork());
    if (child == 0) {
        char **arguments = place(21);
        for (int i = 0; i < 4; i++) arguments[i] = map + (22 + i) * PAGE - 5;
        arguments[4] = 0;
        strcpy(arguments[0], "sh-name"), strcpy(arguments[1], "-c"), strcpy(arguments[2], "echo $0 $VARIABLE; exit 7");
        strcpy(arguments[3], "zero");
        char **environment = arguments + 100;
        environment[0] = strcpy(map + 30 * PAGE - 6, "VARIABLE=some value");
        environment[1] = 0;
        char *path = strcpy(map + 28 * PAGE - 4, "/bin/sh");
        place(0);
        execve(path, arguments, environment);
        _exit(9);
    }
    CHECK(wait4(child, code, 0, place(10)) == child);
    printf("code %d\n", WEXITSTATUS(*code));
    // What is wrong stays wrong.
    told("stat of nothing", stat((void *)8, status));
    told("poll of nothing", poll((void *)4096, 5, 0));
    told("getcwd into nothing", syscall(SYS_getcwd, 4096, 100));
    munmap(map + PAGE, PAGE);
    told("getcwd at the end", syscall(SYS_getcwd, map + PAGE - 2, 100));
    MUST(ftruncate(fd, 4 * PAGE));
    told("readlink past the end", readlink("/proc/self/exe", map + 8 * PAGE, 100));
    told("size", lseek(other, 0, SEEK_END));
    return 0;
}
