/* Restartable sequences, and barriers that one thread makes for all. The C library may have
   registered the area of each thread (glibc); the program begins anew without that. */
#include "show.h"
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#ifndef SYS_rseq
#define SYS_rseq 334
#endif
#define UNREGISTER 1
#define SIGNATURE 0x53053053
#define NO_CPU 0xffffffffu

struct area {
	uint32_t first_cpu, cpu;
	volatile uint64_t sequence;
	uint32_t flags, node, number, rest;
};

struct sequence {
	uint32_t version, flags;
	uint64_t start, len, abort;
};

static _Alignas(32) __thread volatile struct area area;

static long rseq(volatile void *at, unsigned len, int flags, unsigned signature)
{
	return syscall(SYS_rseq, at, len, flags, signature);
}

static unsigned asked_cpu(void)
{
	unsigned cpu = NO_CPU;

	syscall(SYS_getcpu, &cpu, NULL, NULL);
	return cpu;
}

/* Whether an area tells the CPU. The thread may go to another one between two looks. */
static int tells_cpu(volatile struct area *told)
{
	for (;;) {
		unsigned before = asked_cpu(), cpu = told->cpu, first = told->first_cpu;
		unsigned after = asked_cpu();

		if (before == after && cpu == first && (cpu == before || told->cpu == cpu))
			return cpu == before;
	}
}

static int library_tells_cpu(void)
{
	for (;;) {
		unsigned before = asked_cpu();
		int told = sched_getcpu();

		if (before == asked_cpu())
			return told == (int)before;
	}
}

/* A sequence that ends only when it is aborted, or once `*until` is set: 1, or 0. */
extern const char begin_of_spin[], end_of_spin[], abort_of_spin[];
static const struct sequence *spin_sequence(void)
{
	static struct sequence spin;

	spin.start = (uint64_t)begin_of_spin;
	spin.len = end_of_spin - begin_of_spin;
	spin.abort = (uint64_t)abort_of_spin;
	return &spin;
}

__attribute__((noinline, noclone)) static int spin(const int *until)
{
	int aborted;

	__asm__ volatile("movl $0, %0\n\t"
			 "movq %1, %2\n"
			 ".globl begin_of_spin, end_of_spin, abort_of_spin\n"
			 "begin_of_spin:\n\t"
			 "pause\n\t"
			 "cmpl $0, (%3)\n\t"
			 "je begin_of_spin\n"
			 "end_of_spin:\n\t"
			 "jmp 1f\n\t"
			 ".long 0x53053053\n"
			 "abort_of_spin:\n\t"
			 "movl $1, %0\n"
			 "1:"
			 : "=&r"(aborted)
			 : "r"(spin_sequence()), "m"(area.sequence), "r"(until)
			 : "memory", "cc");
	return aborted;
}

static const int never;

/* Threads that keep the CPUs busy, so that others lose theirs. */
static _Atomic int rivals_end;

static void *rival(void *none)
{
	while (!rivals_end)
		;
	return none;
}

static void registers(void)
{
	char *other = (char *)&area - 32;

	puts("# registers");
	SHOW(rseq(&area, 32, UNREGISTER, SIGNATURE));
	SHOW(rseq(&area, 32, 2, SIGNATURE));
	SHOW(rseq(&area, 32, -1, SIGNATURE));
	SHOW(rseq(&area, 31, 0, SIGNATURE));
	SHOW(rseq(&area, 0, 0, SIGNATURE));
	SHOW(rseq((char *)&area + 16, 32, 0, SIGNATURE));
	SHOW(rseq((char *)&area + 4, 32, 0, SIGNATURE));
	SHOW(rseq((void *)0xffff800000000000, 32, 0, SIGNATURE));
	area.cpu = area.first_cpu = NO_CPU;
	SHOW(rseq(&area, 32, 0, SIGNATURE));
	SHOW(tells_cpu(&area));
	SHOW(area.node);
	SHOW_IS(area.number < (unsigned)sysconf(_SC_NPROCESSORS_ONLN));
	SHOW(rseq(&area, 32, 0, SIGNATURE));
	SHOW(rseq(&area, 32, 0, SIGNATURE + 1));
	SHOW(rseq(&area, 64, 0, SIGNATURE));
	SHOW(rseq(other, 32, 0, SIGNATURE));
	SHOW(rseq(&area, 32, UNREGISTER, SIGNATURE + 1));
	SHOW(rseq(&area, 64, UNREGISTER, SIGNATURE));
	SHOW(rseq(other, 32, UNREGISTER, SIGNATURE));
	SHOW(rseq(&area, 32, UNREGISTER | 2, SIGNATURE));
	SHOW(rseq(&area, 32, UNREGISTER, SIGNATURE));
	SHOW(area.first_cpu);
	SHOW_IS(area.cpu == NO_CPU);
	SHOW(rseq(&area, 32, UNREGISTER, SIGNATURE));
	SHOW(rseq(&area, 32, 0, SIGNATURE));
}

static void *in_thread(void *none)
{
	SHOW(rseq(&area, 32, UNREGISTER, SIGNATURE));
	SHOW(rseq(&area, 32, 0, SIGNATURE));
	SHOW(tells_cpu(&area));
	return none;
}

static void children(void)
{
	pthread_t thread;
	int status;

	puts("# children");
	pthread_create(&thread, NULL, in_thread, NULL);
	pthread_join(thread, NULL);
	if (fork() == 0) {
		SHOW(rseq(&area, 32, 0, SIGNATURE));
		SHOW(tells_cpu(&area));
		_exit(0);
	}
	wait(&status);
	SHOW(status);
	if (vfork() == 0)
		_exit(rseq(&area, 32, UNREGISTER, SIGNATURE) == -1 && errno == EINVAL);
	wait(&status);
	SHOW(WEXITSTATUS(status));
	SHOW(rseq(&area, 32, 0, SIGNATURE));
}

static void preempted(void)
{
	pthread_t rivals[2];
	int aborts = 0, told = 0;
	cpu_set_t all, one;

	puts("# preempted");
	/* A machine with many CPUs lets all of them have one. */
	sched_getaffinity(0, sizeof all, &all);
	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	sched_setaffinity(0, sizeof one, &one);
	for (int at = 0; at < 2; at++)
		pthread_create(&rivals[at], NULL, rival, NULL);
	for (int at = 0; at < 5; at++) {
		aborts += spin(&never);
		told += tells_cpu(&area) && area.sequence == 0;
	}
	rivals_end = 1;
	for (int at = 0; at < 2; at++)
		pthread_join(rivals[at], NULL);
	sched_setaffinity(0, sizeof all, &all);
	SHOW(aborts);
	SHOW(told);
}

static volatile int at_abort, in_sequence;

static void look(int signal, siginfo_t *info, void *context)
{
	const char *at = (void *)((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];

	(void)signal, (void)info;
	at_abort += at == abort_of_spin;
	in_sequence += at >= begin_of_spin && at < end_of_spin;
}

static void signalled(void)
{
	struct sigaction action = { .sa_sigaction = look, .sa_flags = SA_SIGINFO };
	struct itimerval often = { { 0, 2000 }, { 0, 2000 } }, off = { 0 };

	puts("# signalled");
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	for (int at = 0; at < 3; at++)
		for (at_abort = 0; at_abort == 0;)
			spin(&never);
	setitimer(ITIMER_REAL, &off, NULL);
	SHOW(in_sequence);
	/* One that was left is forgotten. */
	area.sequence = (uint64_t)spin_sequence();
	raise(SIGALRM);
	SHOW(area.sequence);
}

/* How a process ends that gets a signal with a sequence that is none. */
static void spoiled(const char *how, struct sequence *sequence)
{
	int status;

	if (fork() == 0) {
		area.sequence = (uint64_t)sequence;
		raise(SIGALRM);
		_exit(0);
	}
	wait(&status);
	printf("%s: %s %d\n", how, WIFSIGNALED(status) ? "signal" : "exit",
	       WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
}

static void bad(void)
{
	struct sequence sound = *spin_sequence(), now = sound;
	uint32_t *nowhere = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	puts("# sequences that are none");
	spoiled("sound", &now);
	now.version = 1;
	spoiled("version", &now);
	now = sound, now.abort += 1;
	spoiled("signature", &now);
	now = sound, now.abort = now.start;
	spoiled("abort within", &now);
	now = sound, now.len = -now.start;
	spoiled("too long", &now);
	now = sound, now.len = -1;
	spoiled("without end", &now);
	now = sound, now.start = 0xffff800000000000;
	spoiled("start of the kernel", &now);
	now = sound, now.abort = 0xffff800000000000;
	spoiled("abort to the kernel", &now);
	now = sound, now.abort = (uint64_t)nowhere + 8;
	spoiled("abort to nowhere", &now);
	spoiled("nowhere", (void *)nowhere);
	spoiled("of the kernel", (void *)0xffff800000000000);
}

#define MEMBARRIER(command) syscall(SYS_membarrier, command, 0, 0)

static _Atomic int first, second, ready;
static _Atomic int turn;

/* Says `second`, and looks for `first`, with no barrier of its own. */
static void *other_side(void *seen)
{
	for (int at = 1; at <= 200; at++) {
		while (atomic_load_explicit(&turn, memory_order_acquire) != at)
			;
		atomic_store_explicit(&second, at, memory_order_relaxed);
		atomic_signal_fence(memory_order_seq_cst);
		((int *)seen)[at] = atomic_load_explicit(&first, memory_order_relaxed) == at;
		atomic_store_explicit(&ready, at, memory_order_release);
	}
	return NULL;
}

static void *spins(void *until)
{
	ready = 1;
	rseq(&area, 32, 0, SIGNATURE);
	return (void *)(long)spin(until);
}

static void barriers(void)
{
	static int seen[201], let_go;
	pthread_t thread;
	int status, missed = 0;
	void *aborted;

	puts("# barriers");
	SHOW_IS((MEMBARRIER(0) & 0x1ff) == 0x1ff);
	SHOW(syscall(SYS_membarrier, 0, 1, 0));
	SHOW(MEMBARRIER(3));
	SHOW(MEMBARRIER(1 << 20));
	SHOW(MEMBARRIER(-1));
	SHOW(MEMBARRIER(1 << 6));
	SHOW(MEMBARRIER(1 << 9));
	for (int at = 0; at < 9; at++)
		show_result("a command", MEMBARRIER(1 << at));
	SHOW(MEMBARRIER(1 << 9));
	SHOW(syscall(SYS_membarrier, 1 << 3, 1, 0));
	SHOW(syscall(SYS_membarrier, 1 << 7, 2, 0));
	SHOW(syscall(SYS_membarrier, 1 << 7, 1, 0));
	SHOW(syscall(SYS_membarrier, 1 << 7, 1, 100000));
	if (fork() == 0)
		_exit(MEMBARRIER(1 << 3) == 0 && MEMBARRIER(1 << 5) == 0);
	wait(&status);
	SHOW(WEXITSTATUS(status));
	pthread_create(&thread, NULL, other_side, seen);
	for (int at = 1; at <= 200; at++) {
		atomic_store_explicit(&turn, at, memory_order_release);
		atomic_store_explicit(&first, at, memory_order_relaxed);
		MEMBARRIER(1 << 3);
		int saw = atomic_load_explicit(&second, memory_order_relaxed) == at;

		while (atomic_load_explicit(&ready, memory_order_acquire) != at)
			;
		missed += !saw && !seen[at];
	}
	pthread_join(thread, NULL);
	SHOW(missed);
	/* The sequences of other threads are aborted. */
	ready = 0;
	pthread_create(&thread, NULL, spins, &let_go);
	while (!ready)
		sched_yield();
	usleep(20000);
	SHOW(MEMBARRIER(1 << 7));
	pthread_join(thread, &aborted);
	SHOW((long)aborted);
}

int main(int count, char **words)
{
	if (count == 1) {
		puts("# as the library has it");
		SHOW(library_tells_cpu());
		SHOW(MEMBARRIER(1 << 4));
		setenv("GLIBC_TUNABLES", "glibc.pthread.rseq=0", 1);
		execl("/proc/self/exe", words[0], "again", NULL);
		return 1;
	}
	if (count == 2) {
		/* What is registered here is gone with the next program. */
		SHOW(rseq(&area, 32, 0, SIGNATURE));
		SHOW(library_tells_cpu());
		SHOW(MEMBARRIER(1 << 3));
		execl("/proc/self/exe", words[0], "once", "more", NULL);
		return 1;
	}
	registers();
	children();
	preempted();
	signalled();
	bad();
	barriers();
	return 0;
}
