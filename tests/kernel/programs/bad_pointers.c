/* Pointers that no program may pass: an error, or a signal, and the system goes on. */
#include "show.h"
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

/* Nothing mapped, the end of user memory, not canonical, the kernel's, the last byte. */
static const uintptr_t pointers[] = {8, 0x7ffffffff000, 0x7ffffffffff8, 0x800000000000,
				     0xdead000000000000, 0xffff800000000000, 0xffffffff80000000,
				     0xffffffffffffffff};

#define COUNT (sizeof(pointers) / sizeof(*pointers))

/* A call with each of the pointers in place of `P`. Results are raw: wrappers may look, too. */
#define EACH(name, ...)                                                        \
	for (size_t at = 0; at < COUNT; at++) {                                \
		long P = (long)pointers[at];                                   \
		long result = syscall(SYS_##name, __VA_ARGS__);                \
		if (result != -1 || errno != EFAULT)                           \
			printf("%s, pointer %zu: %s\n", #name, at,             \
			       result == -1 ? error_name(errno) : "done");     \
		(void)P;                                                       \
	}

static void calls(void)
{
	int ends[2], file = open("/tmp", O_TMPFILE | O_RDWR, 0600);
	struct iovec vector = {(void *)0x800000000000, 10};
	char byte;

	pipe(ends);
	write(ends[1], "xxxxxxxxxxxxxxxxxxxx", 20);
	write(file, "xxxx", 4);
	EACH(open, P, 0)
	EACH(stat, P, &byte)
	EACH(stat, "/", P)
	EACH(statx, AT_FDCWD, "/", 0, 0x7ff, P)
	EACH(read, ends[0], P, 10)
	EACH(write, ends[1], P, 10)
	EACH(pread64, file, P, 4, 0)
	EACH(pwrite64, file, P, 4, 0)
	EACH(readv, file, P, 1)
	EACH(preadv, file, P, 1, 0, 0)
	EACH(getcwd, P, 4096)
	EACH(pipe, P)
	EACH(poll, P, 1, 0)
	EACH(readlink, P, &byte, 1)
	EACH(rename, P, "/tmp/x")
	EACH(mkdir, P, 0)
	EACH(clock_gettime, 0, P)
	EACH(nanosleep, P, NULL)
	EACH(rt_sigaction, SIGUSR1, P, NULL, 8)
	EACH(rt_sigaction, SIGUSR1, NULL, P, 8)
	EACH(rt_sigprocmask, SIG_BLOCK, P, NULL, 8)
	EACH(sigaltstack, P, NULL)
	EACH(setitimer, 0, P, NULL)
	EACH(getrusage, 0, P)
	EACH(getrlimit, 7, P)
	EACH(setrlimit, 7, P)
	EACH(uname, P)
	EACH(sysinfo, P)
	EACH(futex, P & ~3L, 0, 0, NULL, NULL, 0)
	EACH(execve, P, NULL, NULL)
	EACH(execve, "/proc/self/exe", P, NULL)
	EACH(getrandom, P, 16, 0)
	EACH(sched_getaffinity, 0, 128, P)
	EACH(fcntl, file, F_SETLK, P)
	EACH(getdents64, open("/", O_RDONLY), P, 4096)
	printf("readv into nowhere: %ld\n", syscall(SYS_readv, file, &vector, 1));
	/* Lengths that wrap around. */
	printf("long read: %s\n", syscall(SYS_read, file, &byte, -1L) == -1 ? error_name(errno) : "done");
	printf("long write: %s\n",
	       syscall(SYS_pwrite64, file, (void *)0x7fffffff0000, 1L << 40, 0) == -1
		       ? error_name(errno) : "done");
	for (int at = 3; at < 100; at++)
		close(at);
}

/* What a child ends with that does a thing that cannot be. */
static void end_of(const char *what, void (*act)(void))
{
	int status;
	struct rlimit none = {0, 0};

	fflush(stdout);
	pid_t child = fork();
	if (child == 0) {
		setrlimit(RLIMIT_CORE, &none);
		act();
		_exit(77);
	}
	waitpid(child, &status, 0);
	printf("%s: signal %d, status %d\n", what, WIFSIGNALED(status) ? WTERMSIG(status) : 0,
	       WIFEXITED(status) ? WEXITSTATUS(status) : 0);
}

static void jump_to_the_kernel(void)
{
	((void (*)(void))0xffffffff80100000)();
}

static void jump_to_no_address(void)
{
	((void (*)(void))0xdead000000000000)();
}

static void jump_to_data(void)
{
	static char data[16] = {(char)0xc3};

	((void (*)(void))data)();
}

static void read_the_kernel(void)
{
	(void)*(volatile char *)0xffffffff80100000;
}

static void privileged(void)
{
	__asm__ volatile("cli");
}

static void port(void)
{
	__asm__ volatile("outb %%al, $0x64" ::"a"(0xfe));
}

static void interrupt(void)
{
	__asm__ volatile("int $0x20");
}

/* The next signal finds no stack. */
static void on_no_stack(void)
{
	__asm__ volatile("mov $0x800000000000, %rsp\n\tpush %rax");
}

static void without_its_stack(void)
{
	int here;
	uintptr_t page = (uintptr_t)&here & ~4095UL;

	munmap((void *)(page - 65536), 65536 + 8192);
	_exit(here ? 78 : 79);
}

static void recurse(void)
{
	volatile char frame[4096];

	frame[0] = 1;
	recurse();
	frame[1] = frame[0];
}

static void nothing(int signal)
{
	(void)signal;
}

static void handler_without_stack(void)
{
	stack_t stack = {.ss_sp = (void *)0x700000000000, .ss_size = 65536};
	struct sigaction action = {.sa_handler = nothing, .sa_flags = SA_ONSTACK};

	sigaltstack(&stack, NULL);
	sigaction(SIGUSR1, &action, NULL);
	raise(SIGUSR1);
}

static void return_to_the_kernel(int signal, siginfo_t *info, void *context)
{
	(void)signal;
	(void)info;
	((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP] = (long long)0xffffffff80100000;
}

static void sigreturn_to_the_kernel(void)
{
	struct sigaction action = {.sa_sigaction = return_to_the_kernel, .sa_flags = SA_SIGINFO};

	sigaction(SIGUSR1, &action, NULL);
	raise(SIGUSR1);
}

static void handler_in_the_kernel(void)
{
	signal(SIGUSR1, (void (*)(int))0xffffffff80100000);
	raise(SIGUSR1);
}

static void sigreturn_without_a_frame(void)
{
	__asm__ volatile("mov $0xffffffffffffff00, %%rsp\n\tsyscall" ::"a"(SYS_rt_sigreturn));
}

int main(void)
{
	calls();
	puts("# ends");
	end_of("jump to the kernel", jump_to_the_kernel);
	end_of("jump to no address", jump_to_no_address);
	end_of("jump to data", jump_to_data);
	end_of("read the kernel", read_the_kernel);
	end_of("privileged instruction", privileged);
	end_of("port", port);
	end_of("interrupt", interrupt);
	end_of("no stack", on_no_stack);
	end_of("unmapped stack", without_its_stack);
	end_of("endless recursion", recurse);
	end_of("handler without a stack", handler_without_stack);
	end_of("return to the kernel", sigreturn_to_the_kernel);
	end_of("handler in the kernel", handler_in_the_kernel);
	end_of("return without a frame", sigreturn_without_a_frame);
	puts("alive");
	return 0;
}
