/* Time: timers, sleeps, clocks. Nothing is said of how long a thing takes but that it is not less
 * than it must be. */
#include "show.h"
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/times.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t count, last_code, last_value;

static void note(int signal, siginfo_t *info, void *context)
{
	(void)signal;
	(void)context;
	count++;
	last_code = info->si_code;
	last_value = info->si_value.sival_int;
}

static long long now(clockid_t clock)
{
	struct timespec time;

	clock_gettime(clock, &time);
	return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static void alarms(void)
{
	struct itimerval timer = {.it_value = {0, 20000}}, old;
	long long start = now(CLOCK_MONOTONIC);

	sigset_t set, none;

	puts("# alarms");
	count = 0;
	/* Blocked until the wait begins: it must not come before. */
	sigemptyset(&none);
	sigemptyset(&set);
	sigaddset(&set, SIGALRM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	SHOW(setitimer(ITIMER_REAL, &timer, NULL));
	SHOW(sigsuspend(&none));
	SHOW(count);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	SHOW_IS(now(CLOCK_MONOTONIC) - start >= 20000000);
	SHOW(getitimer(ITIMER_REAL, &old));
	SHOW_IS(old.it_value.tv_sec == 0 && old.it_value.tv_usec == 0);
	timer.it_interval.tv_usec = 10000;
	SHOW(setitimer(ITIMER_REAL, &timer, NULL));
	while (count < 4)
		pause();
	timer = (struct itimerval){0};
	SHOW(setitimer(ITIMER_REAL, &timer, &old));
	SHOW_IS(old.it_interval.tv_usec == 10000);
	SHOW(alarm(100));
	SHOW(alarm(0));
	SHOW(alarm(0));
	SHOW(setitimer(99, &timer, NULL));
	timer.it_value.tv_usec = 1000000;
	SHOW(setitimer(ITIMER_REAL, &timer, NULL));
}

static void made(void)
{
	struct sigevent event = {.sigev_notify = SIGEV_SIGNAL,
				 .sigev_signo = SIGUSR1,
				 .sigev_value.sival_int = 55};
	struct itimerspec set = {.it_value = {0, 10000000}}, left;
	timer_t timer, none;

	puts("# timers");
	SHOW(timer_create(CLOCK_MONOTONIC, &event, &timer));
	SHOW(timer_gettime(timer, &left));
	SHOW_IS(left.it_value.tv_sec == 0 && left.it_value.tv_nsec == 0);
	count = 0;
	SHOW(timer_settime(timer, 0, &set, NULL));
	while (count == 0)
		usleep(1000);
	SHOW_IS(last_code == SI_TIMER && last_value == 55);
	SHOW(timer_getoverrun(timer));
	/* At a time of the clock. */
	clock_gettime(CLOCK_MONOTONIC, &set.it_value);
	set.it_value.tv_sec += 100;
	SHOW(timer_settime(timer, TIMER_ABSTIME, &set, NULL));
	SHOW(timer_gettime(timer, &left));
	SHOW_IS(left.it_value.tv_sec == 99 || left.it_value.tv_sec == 100);
	set.it_value.tv_sec = 1;
	count = 0;
	SHOW(timer_settime(timer, TIMER_ABSTIME, &set, NULL));
	while (count == 0)
		usleep(1000);
	set.it_value.tv_nsec = 1000000000;
	SHOW(timer_settime(timer, 0, &set, NULL));
	SHOW(timer_delete(timer));
	event.sigev_signo = 65;
	SHOW(timer_create(CLOCK_MONOTONIC, &event, &timer));
	event.sigev_notify = SIGEV_NONE;
	SHOW(timer_create(CLOCK_REALTIME, &event, &none));
	clock_gettime(CLOCK_REALTIME, &set.it_value);
	set.it_value.tv_sec += 50;
	SHOW(timer_settime(none, TIMER_ABSTIME, &set, NULL));
	SHOW(timer_gettime(none, &left));
	SHOW_IS(left.it_value.tv_sec >= 48 && left.it_value.tv_sec <= 50);
	SHOW(timer_delete(none));
	SHOW(timer_create(777, NULL, &none));
}

static void sleeps(void)
{
	struct timespec time = {0, 20000000}, rest;
	/* Again and again: the first one may come before the sleep. */
	struct itimerval timer = {.it_value = {0, 20000}, .it_interval = {0, 20000}};
	long long start = now(CLOCK_MONOTONIC);

	puts("# sleeps");
	SHOW(nanosleep(&time, NULL));
	SHOW_IS(now(CLOCK_MONOTONIC) - start >= 20000000);
	time.tv_nsec = 1000000000;
	SHOW(nanosleep(&time, NULL));
	time = (struct timespec){-1, 0};
	SHOW(nanosleep(&time, NULL));
	time = (struct timespec){100, 0};
	setitimer(ITIMER_REAL, &timer, NULL);
	SHOW(nanosleep(&time, &rest));
	timer = (struct itimerval){0};
	setitimer(ITIMER_REAL, &timer, NULL);
	SHOW_IS(rest.tv_sec >= 90 && rest.tv_sec < 100);
	clock_gettime(CLOCK_REALTIME, &time);
	time.tv_nsec += 10000000;
	if (time.tv_nsec >= 1000000000) {
		time.tv_nsec -= 1000000000;
		time.tv_sec++;
	}
	SHOW(clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &time, NULL));
	SHOW_IS(now(CLOCK_REALTIME) >= time.tv_sec * 1000000000LL + time.tv_nsec);
	SHOW(clock_nanosleep(99, 0, &time, NULL) == EINVAL);
}

static void clocks(void)
{
	struct timespec time;
	struct timeval day;
	struct rusage usage;
	struct tms ticks;
	long long start = now(CLOCK_PROCESS_CPUTIME_ID);
	long long wall = now(CLOCK_MONOTONIC);

	puts("# clocks");
	SHOW(clock_gettime(99, &time));
	SHOW(clock_getres(CLOCK_MONOTONIC, &time));
	gettimeofday(&day, NULL);
	SHOW_IS(llabs(day.tv_sec - now(CLOCK_REALTIME) / 1000000000) <= 1);
	/* A sleep takes no CPU time; a loop does. */
	time = (struct timespec){0, 200000000};
	nanosleep(&time, NULL);
	SHOW_IS(now(CLOCK_PROCESS_CPUTIME_ID) - start < now(CLOCK_MONOTONIC) - wall);
	start = now(CLOCK_THREAD_CPUTIME_ID);
	while (now(CLOCK_THREAD_CPUTIME_ID) - start < 30000000)
		;
	SHOW(getrusage(RUSAGE_SELF, &usage));
	SHOW_IS(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec + 1000000 * usage.ru_utime.tv_sec
		>= 20000);
	SHOW(getrusage(5, &usage));
	SHOW_DONE(times(&ticks));
	SHOW_IS(ticks.tms_utime + ticks.tms_stime >= 2);
}

int main(void)
{
	struct sigaction action = {.sa_sigaction = note, .sa_flags = SA_SIGINFO};

	sigaction(SIGALRM, &action, NULL);
	sigaction(SIGUSR1, &action, NULL);
	alarms();
	made();
	sleeps();
	clocks();
	return 0;
}
