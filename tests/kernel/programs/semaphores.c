/* Semaphores of System V: sets, operations that wait, what the end of a process undoes. */
#define _GNU_SOURCE
#include <signal.h>
#include <sys/ipc.h>
#include <sys/sem.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "show.h"

#define KEY 0x7a11

union argument {
	int value;
	struct semid_ds *told;
	unsigned short *all;
};

static int set;

static int control(int number, int command, int value)
{
	union argument argument = { .value = value };

	return semctl(set, number, command, argument);
}

static int one(int number, int change, int flags)
{
	struct sembuf operation = { (unsigned short)number, (short)change, (short)flags };

	return semop(set, &operation, 1);
}

static void sets(void)
{
	SHOW(semget(KEY, 1, 0));
	SHOW(semget(KEY, 0, IPC_CREAT | 0600));
	SHOW(semget(KEY, -1, IPC_CREAT | 0600));
	SHOW(semget(KEY, 1 << 20, IPC_CREAT | 0600));
	SHOW_DONE(set = semget(KEY, 3, IPC_CREAT | 0640));
	SHOW_IS(semget(KEY, 0, 0) == set && semget(KEY, 3, IPC_CREAT) == set);
	SHOW(semget(KEY, 4, 0));
	SHOW(semget(KEY, 3, IPC_CREAT | IPC_EXCL));
	SHOW(semctl(999999, 0, GETVAL));
}

static void values(void)
{
	unsigned short all[] = { 1, 2, 3 }, got[3] = { 9, 9, 9 };
	struct semid_ds told;
	union argument argument = { .all = all };

	SHOW(control(0, GETVAL, 0));
	SHOW(control(2, SETVAL, 32767));
	SHOW(control(2, SETVAL, 32768));
	SHOW(control(2, SETVAL, -1));
	SHOW(control(3, SETVAL, 1));
	SHOW(control(3, GETVAL, 0));
	SHOW(semctl(set, 0, SETALL, argument));
	argument.all = got;
	SHOW(semctl(set, 0, GETALL, argument));
	printf("  %d %d %d\n", got[0], got[1], got[2]);
	SHOW(control(0, 99, 0));
	SHOW_IS(control(0, GETPID, 0) == getpid());
	argument.told = &told;
	SHOW(semctl(set, 0, IPC_STAT, argument));
	SHOW(told.sem_nsems);
	SHOW(told.sem_perm.mode);
	SHOW(told.sem_otime);
	SHOW_IS(told.sem_ctime > 0);
	told.sem_perm.mode = 0600;
	SHOW(semctl(set, 0, IPC_SET, argument));
	SHOW(semctl(set, 0, IPC_STAT, argument));
	SHOW(told.sem_perm.mode);
}

static void operations(void)
{
	struct sembuf all[] = { { 0, -1, 0 }, { 1, 5, 0 }, { 2, -9, IPC_NOWAIT } };
	struct timespec moment = { 0, 1000000 };

	SHOW(one(0, -1, 0));
	SHOW(one(0, -1, IPC_NOWAIT));
	SHOW(one(0, 0, 0));
	SHOW(one(1, 0, IPC_NOWAIT));
	SHOW(one(3, 1, 0));
	SHOW(one(1, 32767, 0));
	SHOW(semop(set, all, 0));
	SHOW(semop(set, all, 501));
	SHOW(semop(set, (void *)8, 1));
	SHOW(semop(999999, all, 1));
	/* All of them, or none. */
	control(0, SETVAL, 1);
	SHOW(semop(set, all, 3));
	SHOW(control(0, GETVAL, 0));
	SHOW(control(1, GETVAL, 0));
	all[2].sem_op = -3;
	SHOW(semop(set, all, 3));
	SHOW(control(1, GETVAL, 0));
	SHOW(control(2, GETVAL, 0));
	SHOW(semtimedop(set, all, 1, &moment));
}

static void on_signal(int signal)
{
	(void)signal;
}

static void waits(void)
{
	struct sigaction action = { .sa_handler = on_signal };
	int status;

	control(0, SETVAL, 0);
	if (fork() == 0)
		_exit(one(0, -2, 0));
	while (control(0, GETNCNT, 0) == 0)
		usleep(1000);
	SHOW(control(0, GETZCNT, 0));
	SHOW(one(0, 1, 0));
	SHOW(control(0, GETNCNT, 0));
	SHOW(one(0, 1, 0));
	wait(&status);
	SHOW(status);
	SHOW(control(0, GETVAL, 0));
	/* A signal, and the end of the set. */
	sigaction(SIGALRM, &action, 0);
	ualarm(30000, 0);
	SHOW(one(0, -1, 0));
	/* What a child has done is undone by its end. */
	if (fork() == 0) {
		one(0, 3, SEM_UNDO);
		one(0, -1, SEM_UNDO);
		one(0, 5, 0);
		_exit(control(0, GETVAL, 0));
	}
	wait(&status);
	SHOW(status >> 8);
	SHOW(control(0, GETVAL, 0));
	/* Both that wait for zero go on, whatever the first of them does. */
	control(1, SETVAL, 1);
	for (int at = 0; at < 2; at++)
		if (fork() == 0) {
			int done = one(1, 0, 0);
			control(1, SETVAL, 1);
			_exit(done ? 8 : 6);
		}
	while (control(1, GETZCNT, 0) != 2)
		usleep(1000);
	SHOW(one(1, -1, 0));
	for (int at = 0; at < 2; at++) {
		wait(&status);
		SHOW(status >> 8);
	}
	if (fork() == 0)
		_exit(one(0, -100, 0) == -1 && errno == EIDRM ? 7 : 8);
	while (control(0, GETNCNT, 0) == 0)
		usleep(1000);
	SHOW(control(0, IPC_RMID, 0));
	wait(&status);
	SHOW(status >> 8);
	SHOW(control(0, IPC_RMID, 0));
}

int main(void)
{
	sets();
	values();
	operations();
	waits();
	return 0;
}
