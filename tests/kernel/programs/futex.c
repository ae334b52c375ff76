/* Futexes, and what threads make of them. */
#include "show.h"
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* As in <linux/futex.h>, which not every compiler finds. */
#define FUTEX_WAIT 0
#define FUTEX_WAKE 1
#define FUTEX_REQUEUE 3
#define FUTEX_CMP_REQUEUE 4
#define FUTEX_WAIT_BITSET 9
#define FUTEX_WAKE_BITSET 10
#define FUTEX_WAKE_PRIVATE (FUTEX_WAKE | 128)

static _Atomic int word, other, woken;

static long futex(_Atomic int *at, int operation, int value, void *time, void *second, int third)
{
	return syscall(SYS_futex, at, operation, value, time, second, third);
}

static void *wait_on_word(void *bits)
{
	if (bits)
		futex(&word, FUTEX_WAIT_BITSET, 0, NULL, NULL, (int)(long)bits);
	else
		futex(&word, FUTEX_WAIT, 0, NULL, NULL, 0);
	atomic_fetch_add(&woken, 1);
	return NULL;
}

/* Wakes until as many were woken, at most `most` at a time. */
static void wake_all(_Atomic int *at, int operation, int count, int bits)
{
	while (count > 0)
		count -= futex(at, operation, count, NULL, NULL, bits);
}

static void errors(void)
{
	struct timespec little = {0, 10000000}, past = {1, 0}, wrong = {0, 1000000000};

	puts("# errors");
	SHOW(futex(&word, FUTEX_WAIT, 1, NULL, NULL, 0));
	SHOW(futex(&word, FUTEX_WAIT, 0, &little, NULL, 0));
	SHOW(futex(&word, FUTEX_WAIT, 0, &wrong, NULL, 0));
	SHOW(futex(&word, FUTEX_WAIT_BITSET, 0, &past, NULL, -1));
	SHOW(futex(&word, FUTEX_WAIT_BITSET, 0, &past, NULL, 0));
	SHOW(futex(&word, FUTEX_WAKE, 1, NULL, NULL, 0));
	SHOW(futex((void *)((char *)&word + 1), FUTEX_WAIT, 0, NULL, NULL, 0));
	SHOW(futex((void *)8, FUTEX_WAIT, 0, NULL, NULL, 0));
	SHOW(futex((void *)8, FUTEX_WAKE, 1, NULL, NULL, 0));
	SHOW(futex((void *)8, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0));
	SHOW(futex((void *)0xffff800000000000, FUTEX_WAIT, 0, NULL, NULL, 0));
	SHOW(futex(&word, FUTEX_CMP_REQUEUE, 1, (void *)1, &other, 77));
	SHOW(futex(&word, FUTEX_REQUEUE, -1, (void *)1, &other, 0));
	SHOW(futex(&word, 100, 1, NULL, NULL, 0));
}

static void wakes(void)
{
	pthread_t threads[4];
	int moved = 0;

	puts("# wakes");
	for (int at = 0; at < 4; at++)
		pthread_create(&threads[at], NULL, wait_on_word, NULL);
	wake_all(&word, FUTEX_WAKE, 4, 0);
	for (int at = 0; at < 4; at++)
		pthread_join(threads[at], NULL);
	SHOW(woken);
	woken = 0;
	for (int at = 0; at < 2; at++)
		pthread_create(&threads[at], NULL, wait_on_word, (void *)(1L << at));
	wake_all(&word, FUTEX_WAKE_BITSET, 1, 2);
	pthread_join(threads[1], NULL);
	SHOW(woken);
	wake_all(&word, FUTEX_WAKE_BITSET, 1, 1);
	pthread_join(threads[0], NULL);
	SHOW(woken);
	woken = 0;
	for (int at = 0; at < 3; at++)
		pthread_create(&threads[at], NULL, wait_on_word, NULL);
	while (moved < 3)
		moved += futex(&word, FUTEX_CMP_REQUEUE, 0, (void *)3, &other, 0);
	SHOW(futex(&word, FUTEX_WAKE, 9, NULL, NULL, 0));
	SHOW(futex(&other, FUTEX_WAKE, 9, NULL, NULL, 0));
	for (int at = 0; at < 3; at++)
		pthread_join(threads[at], NULL);
	SHOW(woken);
}

static pthread_mutex_t *robust;

static void *take_and_end(void *none)
{
	(void)none;
	pthread_mutex_lock(robust);
	return NULL;
}

static void dies(void)
{
	pthread_mutexattr_t attributes;
	pthread_t thread;

	puts("# owners that end");
	robust = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pthread_mutexattr_init(&attributes);
	pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(robust, &attributes);
	pthread_create(&thread, NULL, take_and_end, NULL);
	pthread_join(thread, NULL);
	SHOW_IS(pthread_mutex_lock(robust) == EOWNERDEAD);
	SHOW(pthread_mutex_consistent(robust));
	SHOW(pthread_mutex_unlock(robust));
	/* A process that waits is woken by the end of another one. */
	int ends[2];
	char byte;
	pipe(ends);
	pid_t child = fork();
	if (child == 0) {
		pthread_mutex_lock(robust);
		write(ends[1], "x", 1);
		usleep(50000);
		_exit(0);
	}
	read(ends[0], &byte, 1);
	SHOW_IS(pthread_mutex_lock(robust) == EOWNERDEAD);
	SHOW(pthread_mutex_unlock(robust));
	SHOW_IS(pthread_mutex_lock(robust) == ENOTRECOVERABLE);
	waitpid(child, NULL, 0);
	SHOW(syscall(SYS_set_robust_list, NULL, 1));
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int turn, sum;

static void *take_turns(void *own)
{
	for (int at = 0; at < 500; at++) {
		pthread_mutex_lock(&lock);
		while (turn != (int)(long)own)
			pthread_cond_wait(&changed, &lock);
		turn = (turn + 1) % 4;
		sum++;
		pthread_cond_broadcast(&changed);
		pthread_mutex_unlock(&lock);
	}
	return NULL;
}

#define WAKE_OP 5
#define LOCK_PI 6
#define UNLOCK_PI 7
#define TRYLOCK_PI 8
#define OP(operation, argument, comparison, compared)                                              \
	((int)((unsigned)(operation) << 28 | ((argument) & 0xfffu) << 12 | (comparison) << 24 |    \
	       ((compared) & 0xfffu)))

static void operations(void)
{
	puts("# operations");
	static const unsigned changes[][4] = {
		{ 0, 7, 0, 5 }, { 1, -2u, 1, 3 }, { 2, 8, 2, -1u }, { 3, 1, 3, 100 }, { 4, 5, 4, 0 },
		{ 9, 4, 5, 20 }, { 5, 1, 0, 0 }, { 0, 0, 6, 0 },
	};
	atomic_store(&other, 5);
	for (int at = 0; at < 8; at++) {
		const unsigned *now = changes[at];

		SHOW(futex(&word, WAKE_OP, 1, (void *)1, &other, OP(now[0], now[1], now[2], now[3])));
		SHOW(other);
	}
	SHOW(futex(&word, WAKE_OP, 1, (void *)1, (void *)8, 0));
	SHOW(futex(&word, FUTEX_WAIT | 256, 0, &(struct timespec){ 0, 1 }, NULL, 0));
	SHOW(futex(&word, FUTEX_WAKE | 256, 0, NULL, NULL, 0));
	atomic_store(&other, 0);
	pthread_t thread;
	word = 0;
	pthread_create(&thread, NULL, wait_on_word, NULL);
	/* The second word is the one that is waited for. */
	while (futex(&other, WAKE_OP, 1, (void *)1, &word, OP(1, 0, 0, 0)) == 0)
		;
	pthread_join(thread, NULL);
}

static _Atomic int owned;
static int guarded;

static void *adds(void *none)
{
	int own = syscall(SYS_gettid);

	(void)none;
	for (int at = 0; at < 2000; at++) {
		int none = 0;
		if (!atomic_compare_exchange_strong(&owned, &none, own) &&
		    futex(&owned, LOCK_PI, 0, NULL, NULL, 0) != 0)
			printf("not locked: %s\n", error_name(errno));
		guarded++;
		if (at % 100 == 0)
			sched_yield();
		int mine = own;
		if (!atomic_compare_exchange_strong(&owned, &mine, 0) &&
		    futex(&owned, UNLOCK_PI, 0, NULL, NULL, 0) != 0)
			printf("not unlocked: %s\n", error_name(errno));
	}
	return NULL;
}

static void *tries(void *until)
{
	struct timespec past = { 1, 0 };

	SHOW(futex(&owned, TRYLOCK_PI, 0, NULL, NULL, 0));
	SHOW(futex(&owned, UNLOCK_PI, 0, NULL, NULL, 0));
	SHOW(futex(&owned, LOCK_PI, 0, &past, NULL, 0));
	return until;
}

static void *keeps(void *none)
{
	futex(&owned, LOCK_PI, 0, NULL, NULL, 0);
	*(_Atomic int *)none = 1;
	while (!(owned & 0x80000000))
		sched_yield();
	return NULL;
}

static void owners(void)
{
	pthread_t threads[3];
	_Atomic int has = 0;
	int own = syscall(SYS_gettid);

	puts("# owners");
	SHOW(futex(&owned, LOCK_PI, 0, NULL, NULL, 0));
	SHOW_IS(owned == own);
	SHOW(futex(&owned, LOCK_PI, 0, NULL, NULL, 0));
	SHOW(futex(&owned, TRYLOCK_PI, 0, NULL, NULL, 0));
	pthread_create(&threads[0], NULL, tries, NULL);
	pthread_join(threads[0], NULL);
	SHOW(futex(&owned, UNLOCK_PI, 0, NULL, NULL, 0));
	SHOW(owned);
	SHOW(futex(&owned, UNLOCK_PI, 0, NULL, NULL, 0));
	owned = 0x3fffffff;
	SHOW(futex(&owned, LOCK_PI, 0, NULL, NULL, 0));
	owned = 0;
	for (int at = 0; at < 3; at++)
		pthread_create(&threads[at], NULL, adds, NULL);
	for (int at = 0; at < 3; at++)
		pthread_join(threads[at], NULL);
	SHOW(guarded);
	SHOW(owned & 0x3fffffff);
	owned = 0;
	/* An owner that ends while another thread waits. */
	pthread_create(&threads[0], NULL, keeps, &has);
	while (!has)
		sched_yield();
	SHOW(futex(&owned, LOCK_PI, 0, NULL, NULL, 0));
	SHOW_IS((owned & 0x7fffffff) == (own | 0x40000000));
	pthread_join(threads[0], NULL);
	SHOW(futex(&owned, UNLOCK_PI, 0, NULL, NULL, 0));
	SHOW(owned);
}

int main(void)
{
	pthread_t threads[4];

	errors();
	wakes();
	operations();
	owners();
	dies();
	puts("# turns");
	for (long at = 0; at < 4; at++)
		pthread_create(&threads[at], NULL, take_turns, (void *)at);
	for (int at = 0; at < 4; at++)
		pthread_join(threads[at], NULL);
	SHOW(sum);
	return 0;
}
