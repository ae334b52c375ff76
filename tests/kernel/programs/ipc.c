/* Objects of System V: queues of messages, and what segments and their modes tell. */
#define _GNU_SOURCE
#include <signal.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/shm.h>
#include <sys/sem.h>
#include <sys/wait.h>
#include <unistd.h>

#include "show.h"

#ifndef MSG_COPY
#define MSG_COPY 040000
#endif

static struct {
	long kind;
	char text[9000];
} message;

static int queue;

static long sends(long kind, const char *text)
{
	message.kind = kind;
	strcpy(message.text, text);
	return msgsnd(queue, &message, strlen(text), IPC_NOWAIT);
}

static void takes(long kind, int flags)
{
	long got = msgrcv(queue, &message, 16, kind, flags | IPC_NOWAIT);

	printf("%ld, flags %o: ", kind, flags);
	if (got == -1)
		printf("%s\n", errno == ENOMSG ? "ENOMSG" : error_name(errno));
	else
		printf("%ld bytes of %ld: %.*s\n", got, message.kind, (int)got, message.text);
}

static void on_signal(int signal)
{
	(void)signal;
}

static void queues(void)
{
	struct msqid_ds told;
	int status;
	pid_t child;

	puts("# queues");
	SHOW(msgget(0x5eed, 0600));
	SHOW_DONE(queue = msgget(0x5eed, IPC_CREAT | 0600));
	SHOW_IS(msgget(0x5eed, 0) == queue);
	SHOW(msgget(0x5eed, IPC_CREAT | IPC_EXCL | 0600));
	SHOW(sends(0, "x"));
	SHOW(sends(-1, "x"));
	SHOW(msgsnd(queue, &message, -1, 0));
	SHOW(msgsnd(queue, &message, 8193, 0));
	SHOW(msgsnd(-1, &message, 1, 0));
	SHOW(msgsnd(queue, (void *)8, 1, 0));
	SHOW(sends(3, "three"));
	SHOW(sends(1, "one"));
	SHOW(sends(2, "two"));
	SHOW(sends(3, "three again"));
	SHOW(sends(5, "a long message of five"));
	SHOW(msgctl(queue, IPC_STAT, &told));
	SHOW(told.msg_qnum);
	SHOW(told.msg_cbytes);
	SHOW(told.msg_qbytes);
	SHOW_IS(told.msg_lspid == getpid() && told.msg_lrpid == 0 && told.msg_stime > 0 && told.msg_rtime == 0);
	SHOW(told.msg_perm.mode);
	SHOW_IS(told.msg_perm.uid == geteuid() && told.msg_perm.cuid == geteuid());
	SHOW(told.msg_perm.__key == 0x5eed);
	takes(9, 0);
	takes(2, MSG_COPY);
	takes(9, MSG_COPY);
	takes(0, MSG_COPY | MSG_EXCEPT);
	takes(2, 0);
	takes(3, MSG_EXCEPT);
	takes(-3, 0);
	takes(0, 0);
	takes(0, 0);
	takes(0, MSG_NOERROR);
	takes(0, 0);
	SHOW(msgrcv(queue, &message, -1, 0, 0));
	SHOW(sends(4, ""));
	takes(-100, 0);
	/* Until it is full. */
	int sent = 0;
	message.kind = 1;
	while (msgsnd(queue, &message, 4096, IPC_NOWAIT) == 0)
		sent++;
	printf("%d fit, then %s\n", sent, error_name(errno));
	child = fork();
	if (child == 0)
		_exit(msgsnd(queue, &message, 4096, 0) == 0 ? 7 : 1);
	usleep(20000);
	SHOW(msgrcv(queue, &message, 8192, 0, 0));
	waitpid(child, &status, 0);
	SHOW(WEXITSTATUS(status));
	SHOW(msgctl(queue, IPC_STAT, &told));
	told.msg_qbytes = 100;
	told.msg_perm.mode = 0640;
	SHOW(msgctl(queue, IPC_SET, &told));
	SHOW(msgctl(queue, IPC_STAT, &told));
	SHOW(told.msg_qbytes);
	SHOW(told.msg_perm.mode);
	while (msgrcv(queue, &message, 8192, 0, IPC_NOWAIT) >= 0)
		;
	/* A wait that a handler ends, and one that the end of the queue does. */
	child = fork();
	if (child == 0) {
		struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
		sigaction(SIGALRM, &action, NULL);
		ualarm(50000, 0);
		SHOW(msgrcv(queue, &message, 10, 0, 0));
		_exit(0);
	}
	waitpid(child, &status, 0);
	child = fork();
	if (child == 0) {
		errno = 0;
		msgrcv(queue, &message, 10, 0, 0);
		_exit(errno == EIDRM || errno == EINVAL ? 9 : 1);
	}
	usleep(20000);
	SHOW(msgctl(queue, IPC_RMID, NULL));
	waitpid(child, &status, 0);
	SHOW(WEXITSTATUS(status));
	SHOW(msgctl(queue, IPC_STAT, &told));
	SHOW(msgctl(queue, IPC_RMID, NULL));
	SHOW(sends(1, "gone"));
	SHOW(msgctl(queue, 77, NULL));
}

static void segments(void)
{
	struct shmid_ds told;
	char *at;
	int number;

	puts("# segments");
	SHOW_DONE(number = shmget(0x5eed, 5000, IPC_CREAT | 0640));
	SHOW(shmctl(number, IPC_STAT, &told));
	SHOW(told.shm_perm.mode);
	SHOW_IS(told.shm_perm.cuid == geteuid() && told.shm_perm.uid == geteuid() && told.shm_perm.gid == getegid());
	SHOW_IS(told.shm_atime == 0 && told.shm_dtime == 0 && told.shm_ctime > 0);
	SHOW_IS(told.shm_cpid == getpid() && told.shm_lpid == 0);
	SHOW_IS(shmat(number, (void *)1, 0) == (void *)-1);
	SHOW_IS(shmat(number, NULL, SHM_REMAP) == (void *)-1);
	at = shmat(number, NULL, 0);
	SHOW_IS(at != (void *)-1);
	SHOW(shmctl(number, IPC_STAT, &told));
	SHOW(told.shm_nattch);
	SHOW_IS(told.shm_atime > 0 && told.shm_lpid == getpid());
	told.shm_perm.mode = 0600;
	SHOW(shmctl(number, IPC_SET, &told));
	SHOW(shmctl(number, SHM_LOCK, NULL));
	SHOW(shmctl(number, IPC_STAT, &told));
	SHOW(told.shm_perm.mode);
	SHOW(shmctl(number, SHM_UNLOCK, NULL));
	/* It stays until it is mapped no more, without a key. */
	SHOW(shmctl(number, IPC_RMID, NULL));
	SHOW(shmget(0x5eed, 5000, 0));
	SHOW(shmctl(number, IPC_STAT, &told));
	SHOW(told.shm_perm.mode);
	SHOW(told.shm_perm.__key);
	char *again = shmat(number, NULL, SHM_RDONLY);
	SHOW_IS(again != (void *)-1);
	at[0] = 'x';
	SHOW_IS(again[0] == 'x');
	SHOW(shmdt(again));
	SHOW(shmdt(at));
	SHOW(shmctl(number, IPC_STAT, &told));
	SHOW(shmdt(at));
	SHOW(shmctl(number, 77, NULL));
	SHOW(shmctl(-1, IPC_STAT, &told));
}

int main(void)
{
	queues();
	segments();
	return 0;
}
