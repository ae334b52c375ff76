/* Signals: handlers, masks, information, stacks, waits. */
#include "show.h"
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

static volatile sig_atomic_t count, last, last_code, on_stack;
static volatile uintptr_t last_address;
static sigjmp_buf back;
static char *alternative;

static void note(int signal)
{
	count++;
	last = signal;
}

static void inform(int signal, siginfo_t *info, void *context)
{
	char here;

	(void)context;
	count++;
	last = signal;
	last_code = info->si_code;
	last_address = (uintptr_t)info->si_addr;
	on_stack = alternative && &here >= alternative && &here < alternative + 65536;
}

static void leave(int signal, siginfo_t *info, void *context)
{
	inform(signal, info, context);
	siglongjmp(back, 1);
}

static void handle(int signal, void (*handler)(int, siginfo_t *, void *), int flags)
{
	struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | flags};

	sigaction(signal, &action, NULL);
}

static void handle_simply(int signal, void (*handler)(int), int flags)
{
	struct sigaction action = {.sa_handler = handler, .sa_flags = flags};

	sigaction(signal, &action, NULL);
}

static void masks(void)
{
	sigset_t set, old, pending;

	puts("# masks");
	handle_simply(SIGUSR1, note, 0);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	SHOW(sigprocmask(SIG_BLOCK, &set, &old));
	count = 0;
	SHOW(raise(SIGUSR1));
	SHOW(raise(SIGUSR1));
	SHOW(count);
	sigpending(&pending);
	SHOW(sigismember(&pending, SIGUSR1));
	SHOW(sigprocmask(SIG_SETMASK, &old, NULL));
	SHOW(count);
	SHOW(sigprocmask(77, &set, NULL));
	SHOW(sigaction(SIGKILL, &(struct sigaction){.sa_handler = note}, NULL));
	SHOW(sigaction(65, &(struct sigaction){.sa_handler = note}, NULL));

	/* One that comes while it is blocked ends the wait. */
	sigprocmask(SIG_BLOCK, &set, NULL);
	count = 0;
	raise(SIGUSR1);
	sigemptyset(&set);
	SHOW(sigsuspend(&set));
	SHOW(count);
	sigprocmask(SIG_BLOCK, NULL, &set);
	SHOW(sigismember(&set, SIGUSR1));
	sigprocmask(SIG_SETMASK, &old, NULL);
}

static void waits(void)
{
	sigset_t set, old;
	siginfo_t info;
	struct timespec none = {0, 0}, little = {0, 20000000};
	union sigval value = {.sival_int = 77};

	puts("# waits");
	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, &old);
	SHOW(sigtimedwait(&set, &info, &none));
	SHOW(sigtimedwait(&set, &info, &little));
	SHOW(sigqueue(getpid(), SIGUSR2, value));
	SHOW(sigtimedwait(&set, &info, &none));
	SHOW_IS(info.si_code == SI_QUEUE && info.si_value.sival_int == 77);
	SHOW_IS(info.si_pid == getpid());
	/* A signal that is ignored by default is there if it is blocked. */
	pid_t child = fork();
	if (child == 0)
		_exit(3);
	SHOW(sigwaitinfo(&set, &info));
	SHOW_IS(info.si_pid == child && info.si_code == CLD_EXITED && info.si_status == 3);
	waitpid(child, NULL, 0);
	sigprocmask(SIG_SETMASK, &old, NULL);
}

static void faults(void)
{
	volatile int zero = 0;
	char *page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	FILE *file = tmpfile();

	puts("# faults");
	handle(SIGSEGV, leave, 0);
	handle(SIGBUS, leave, 0);
	handle(SIGFPE, leave, 0);
	handle(SIGILL, leave, 0);
	if (!sigsetjmp(back, 1))
		*page = 1;
	SHOW_IS(last == SIGSEGV && last_code == SEGV_ACCERR && last_address == (uintptr_t)page);
	munmap(page, 4096);
	if (!sigsetjmp(back, 1))
		*(volatile char *)page;
	SHOW_IS(last == SIGSEGV && last_code == SEGV_MAPERR && last_address == (uintptr_t)page);
	if (!sigsetjmp(back, 1))
		*(volatile char *)0xdead000000000000;
	SHOW_IS(last == SIGSEGV && last_code == SI_KERNEL);
	page = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fileno(file), 0);
	if (!sigsetjmp(back, 1))
		*(volatile char *)page;
	SHOW_IS(last == SIGBUS && last_code == BUS_ADRERR && last_address == (uintptr_t)page);
	if (!sigsetjmp(back, 1))
		printf("%d\n", 1 / zero);
	SHOW_IS(last == SIGFPE && last_code == FPE_INTDIV);
	if (!sigsetjmp(back, 1))
		__asm__ volatile("ud2");
	SHOW_IS(last == SIGILL && last_code == ILL_ILLOPN);
	fclose(file);
}

static void stacks(void)
{
	stack_t stack = {.ss_size = 65536}, old;

	puts("# stacks");
	alternative = malloc(65536);
	stack.ss_sp = alternative;
	SHOW(sigaltstack(&stack, NULL));
	SHOW(sigaltstack(NULL, &old));
	SHOW_IS(old.ss_sp == alternative && old.ss_size == 65536 && old.ss_flags == 0);
	handle(SIGUSR1, inform, SA_ONSTACK);
	raise(SIGUSR1);
	SHOW(on_stack);
	handle(SIGUSR1, inform, 0);
	raise(SIGUSR1);
	SHOW(on_stack);
	SHOW_IS(last_code == SI_TKILL || last_code == SI_USER);
	stack.ss_size = 100;
	SHOW(sigaltstack(&stack, NULL));
	stack.ss_flags = SS_DISABLE;
	SHOW(sigaltstack(&stack, NULL));
	SHOW(sigaltstack(NULL, &old));
	SHOW(old.ss_flags);
	handle_simply(SIGUSR1, note, SA_RESETHAND);
	raise(SIGUSR1);
	struct sigaction now;
	sigaction(SIGUSR1, NULL, &now);
	SHOW_IS(now.sa_handler == SIG_DFL);
}

static pthread_t reader;
static int ends[2];
static volatile int is_done;

/* Some signals, and then what the reader waits for. */
static void *signal_and_write(void *none)
{
	for (int times = 0; times < 3; times++) {
		usleep(10000);
		pthread_kill(reader, SIGUSR1);
	}
	usleep(10000);
	write(ends[1], "x", 1);
	return none;
}

/* Signals until one has come to the call. */
static void *signal_until_done(void *none)
{
	while (!is_done) {
		usleep(10000);
		pthread_kill(reader, SIGUSR1);
	}
	return none;
}

/* A read that a signal comes to: made again, or EINTR. */
static void restarts(void)
{
	char byte;
	pthread_t other;

	puts("# restarts");
	pipe(ends);
	reader = pthread_self();
	handle_simply(SIGUSR1, note, SA_RESTART);
	pthread_create(&other, NULL, signal_and_write, NULL);
	long result = read(ends[0], &byte, 1);
	pthread_join(other, NULL);
	show_result("read that is made again", result);
	handle_simply(SIGUSR1, note, 0);
	pthread_create(&other, NULL, signal_until_done, NULL);
	result = read(ends[0], &byte, 1);
	is_done = 1;
	pthread_join(other, NULL);
	show_result("read that is interrupted", result);
	close(ends[0]);
	handle_simply(SIGPIPE, note, 0);
	count = 0;
	SHOW(write(ends[1], "x", 1));
	SHOW_IS(count == 1 && last == SIGPIPE);
	close(ends[1]);
}

static void sizes(void)
{
	struct rlimit limit = {4096, RLIM_INFINITY};
	FILE *file = tmpfile();
	char bytes[6000] = {0};

	puts("# file sizes");
	setrlimit(RLIMIT_FSIZE, &limit);
	handle_simply(SIGXFSZ, note, 0);
	count = 0;
	SHOW(write(fileno(file), bytes, 6000));
	SHOW(count);
	SHOW(write(fileno(file), bytes, 1));
	SHOW_IS(count == 1 && last == SIGXFSZ);
	SHOW(ftruncate(fileno(file), 5000));
	SHOW(count);
	limit.rlim_cur = RLIM_INFINITY;
	setrlimit(RLIMIT_FSIZE, &limit);
	fclose(file);
}

/* Status of a child that ends by a signal. */
static int status_of(int signal)
{
	int status;
	pid_t child = fork();

	if (child == 0) {
		for (int number = 1; number < 32; number++)
			handle_simply(number, SIG_DFL, 0);
		raise(signal);
		_exit(9);
	}
	waitpid(child, &status, 0);
	return WIFSIGNALED(status) ? WTERMSIG(status) : -WEXITSTATUS(status);
}

static int came[16], have_come;

static void append(int signal)
{
	came[have_come++] = signal;
}

/* Those that a thread brings about itself come first, then the others by their numbers. */
static void in_order(void)
{
	static const int sent[] = {SIGUSR2, SIGUSR1, SIGSEGV, SIGUSR1, SIGHUP};
	struct sigaction action = {.sa_handler = append};
	sigset_t all;

	puts("# order");
	sigfillset(&action.sa_mask);
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
	for (int at = 0; at < 5; at++) {
		sigaction(sent[at], &action, NULL);
		raise(sent[at]);
	}
	sigprocmask(SIG_UNBLOCK, &all, NULL);
	for (int at = 0; at < have_come; at++)
		printf("%d\n", came[at]);
	for (int at = 0; at < 5; at++)
		signal(sent[at], SIG_DFL);
}

static char disarmed[32768];

static void show_stack(int signal, siginfo_t *info, void *context)
{
	stack_t now;
	char here;

	(void)signal, (void)info;
	sigaltstack(NULL, &now);
	SHOW_IS(&here >= disarmed && &here < disarmed + sizeof disarmed);
	printf("flags %x, %x\n", now.ss_flags, ((ucontext_t *)context)->uc_stack.ss_flags);
}

/* A stack that is none while a handler runs on it. */
static void disarms(void)
{
	struct sigaction action = {.sa_sigaction = show_stack, .sa_flags = SA_ONSTACK | SA_SIGINFO};
	stack_t stack = {.ss_sp = disarmed, .ss_size = sizeof disarmed, .ss_flags = (int)(1U << 31)};

	puts("# a stack that is disarmed");
	sigaction(SIGUSR1, &action, NULL);
	SHOW(sigaltstack(&stack, NULL));
	raise(SIGUSR1);
	SHOW(sigaltstack(NULL, &stack));
	printf("flags %x, %zu bytes\n", stack.ss_flags, (size_t)stack.ss_size);
	stack.ss_flags = SS_DISABLE;
	SHOW(sigaltstack(&stack, NULL));
	signal(SIGUSR1, SIG_DFL);
}

int main(void)
{
	masks();
	in_order();
	disarms();
	waits();
	faults();
	stacks();
	restarts();
	sizes();
	puts("# default actions");
	static const int signals[] = {SIGHUP, SIGINT, SIGALRM, SIGTERM, SIGKILL, SIGPIPE, SIGUSR1,
				      SIGXFSZ, SIGCHLD, SIGURG, SIGWINCH, SIGCONT};
	struct rlimit none = {0, 0};
	setrlimit(RLIMIT_CORE, &none);
	for (size_t at = 0; at < sizeof(signals) / sizeof(*signals); at++)
		printf("%d: %d\n", signals[at], status_of(signals[at]));
	return 0;
}
