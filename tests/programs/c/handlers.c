// Handlers of signals: where they run, what they are told, what they hold off, and how they end.
#include "common.h"
#include <poll.h>
#include <sys/time.h>

static char stack_bytes[64 << 10] __attribute__((aligned(4096)));
static volatile sig_atomic_t count, depth, on_stack;
static sigjmp_buf back;
static char *map;
static int fd;

static int on_alternate(void *at) {
    return (char *)at >= stack_bytes && (char *)at < stack_bytes + sizeof stack_bytes;
}

static void note(int signal, siginfo_t *info, void *context) {
    ucontext_t *registers = context;
    int here;
    on_stack = on_alternate(&here);
    stack_t now;
    MUST(sigaltstack(0, &now));
    CHECK(!!(now.ss_flags & SS_ONSTACK) == on_stack);
    CHECK(info->si_signo == signal && registers->uc_mcontext.gregs[REG_RIP] != 0);
    sigset_t held;
    sigprocmask(SIG_BLOCK, 0, &held);
    if (signal == SIGUSR1) CHECK(sigismember(&held, SIGUSR1) && sigismember(&held, SIGHUP) && !sigismember(&held, SIGUSR2));
    count++;
}

// Forks and writes on the alternate stack.
static void forks(int signal) {
    (void)signal;
    pid_t child = MUST(fork());
    if (child == 0) {
        CHECK(pwrite(fd, "child", 5, 100) == 5);
        map[4 * PAGE] = 'c';
        _exit(3);
    }
    int status;
    CHECK(MUST(waitpid(child, &status, 0)) == child && WEXITSTATUS(status) == 3);
    count++;
}

static void handle(int signal, void (*handler)(int, siginfo_t *, void *), int flags, int held) {
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = flags | SA_SIGINFO};
    sigemptyset(&action.sa_mask);
    if (held) sigaddset(&action.sa_mask, held);
    MUST(sigaction(signal, &action, 0));
}

static void jump(int signal, siginfo_t *info, void *context) {
    (void)context;
    on_stack = on_alternate(&signal);
    siglongjmp(back, info->si_code > 0 ? signal : -signal);
}

static void tick(int signal, siginfo_t *info, void *context) {
    (void)signal, (void)info, (void)context;
    count++;
    if (map) map[(count % 16) * PAGE] = 't';
}

static void *nothing(void *at) {
    struct timespec pause = {0, 20000000};
    nanosleep(&pause, 0);
    pthread_kill(*(pthread_t *)at, SIGUSR2);
    return 0;
}

int main(void) {
    fd = cold_file("handlers", 32 * PAGE);
    map = (void *)MUST((long)mmap(0, 32 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    stack_t stack = {.ss_sp = stack_bytes, .ss_size = sizeof stack_bytes}, before;
    told("small stack", sigaltstack(&(stack_t){.ss_sp = stack_bytes, .ss_size = 100}, 0));
    MUST(sigaltstack(&stack, &before));
    CHECK(before.ss_flags == SS_DISABLE);
    handle(SIGUSR1, note, SA_ONSTACK, SIGHUP);
    raise(SIGUSR1);
    printf("on the stack: %d, %d\n", on_stack, count);
    handle(SIGUSR1, note, 0, SIGHUP);
    raise(SIGUSR1);
    printf("on the other: %d, %d\n", on_stack, count);
    // Floating-point registers stay.
    double sum = 0;
    for (int i = 0; i < 100; i++) {
        sum += 1.0 / (i + 1);
        if (i % 10 == 0) kill(getpid(), SIGUSR1);
    }
    printf("%.12f %d\n", sum, count);
    struct sigaction once = {.sa_handler = forks, .sa_flags = SA_ONSTACK | SA_RESETHAND}, now;
    MUST(sigaction(SIGUSR2, &once, 0));
    raise(SIGUSR2);
    MUST(sigaction(SIGUSR2, 0, &now));
    printf("default again: %d, %c\n", now.sa_handler == SIG_DFL, map[4 * PAGE]);
    // Faults: jumps out of handlers, again and again; the mask comes back.
    handle(SIGSEGV, jump, SA_ONSTACK, 0);
    handle(SIGBUS, jump, 0, 0);
    MUST(ftruncate(fd, 16 * PAGE));
    for (volatile int i = 0; i < 50; i++) {
        int how = sigsetjmp(back, 1);
        if (how == 0) ((volatile char *)(i % 2 ? map + 20 * PAGE : (char *)16))[0] = 'x';
        CHECK(how == (i % 2 ? SIGBUS : SIGSEGV) && on_stack == !(i % 2));
    }
    // Sent ones, while it reads and writes.
    handle(SIGSEGV, tick, 0, 0), handle(SIGBUS, tick, SA_ONSTACK, 0), handle(SIGTERM, tick, 0, 0);
    pid_t parent = getpid(), child = MUST(fork());
    if (child == 0) {
        for (int i = 0; i < 100; i++) {
            kill(parent, i % 2 ? SIGSEGV : SIGBUS);
            usleep(300);
        }
        kill(parent, SIGTERM);
        _exit(0);
    }
    static char buffer[8 * PAGE];
    while (waitpid(child, 0, WNOHANG) == 0) {
        CHECK(pwrite(fd, buffer, sizeof buffer, 4 * PAGE) == sizeof buffer);
        CHECK(pread(fd, buffer, sizeof buffer, 4 * PAGE) == sizeof buffer);
    }
    // Held off, and then not.
    sigset_t set, old;
    sigemptyset(&set);
    sigaddset(&set, SIGSEGV);
    MUST(sigprocmask(SIG_BLOCK, &set, &old));
    int before_it = count;
    raise(SIGSEGV);
    CHECK(count == before_it);
    MUST(sigprocmask(SIG_SETMASK, &old, 0));
    CHECK(count == before_it + 1);
    // A storm.
    handle(SIGALRM, tick, SA_RESTART, 0);
    MUST(ftruncate(fd, 32 * PAGE));
    struct itimerval often = {{0, 300}, {0, 300}}, never = {{0, 0}, {0, 0}};
    MUST(setitimer(ITIMER_REAL, &often, 0));
    for (long round = 0; round < 300; round++) {
        long at = round % 25 * PAGE + 17;
        memset(buffer, round, sizeof buffer);
        CHECK(pwrite(fd, buffer, 5000, at) == 5000);
        CHECK(pread(fd, buffer + 5000, 5000, at) == 5000);
        if (round % 20 == 0) posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    }
    MUST(setitimer(ITIMER_REAL, &never, 0));
    // A wait is ended by the program's signals, and by no others.
    handle(SIGUSR2, tick, SA_RESTART, 0);
    pthread_t self = pthread_self(), thread;
    CHECK(pthread_create(&thread, 0, nothing, &self) == 0);
    told("pause", pause());
    CHECK(pthread_join(thread, 0) == 0);
    child = MUST(fork());
    if (child == 0) {
        for (int i = 0; i < 60; i++) {
            map[5 * PAGE] = i;
            msync(map, 32 * PAGE, MS_SYNC);
            posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
            usleep(1000);
        }
        _exit(0);
    }
    struct timespec start, end, wait = {0, 50000000};
    clock_gettime(CLOCK_MONOTONIC, &start);
    told("nanosleep", nanosleep(&wait, 0));
    told("poll", poll(0, 0, 50));
    told("select", select(0, 0, 0, 0, &(struct timeval){0, 50000}));
    clock_gettime(CLOCK_MONOTONIC, &end);
    double took = (end.tv_sec - start.tv_sec) * 1e3 + (end.tv_nsec - start.tv_nsec) / 1e6;
    printf("long enough: %d, not too long: %d\n", took >= 149, took < 1500);
    MUST(waitpid(child, 0, 0));
    // A fault that is held off ends the program.
    child = MUST(fork());
    if (child == 0) {
        MUST(sigprocmask(SIG_BLOCK, &set, 0));
        *(volatile char *)16 = 0;
        _exit(0);
    }
    int status;
    MUST(waitpid(child, &status, 0));
    printf("ended by %d\n", WTERMSIG(status));
    return 0;
}
