/* More than there is: of files, arguments, processes, memory. What a call returns when a limit is
 * reached may differ; that the system goes on may not. */
#include "show.h"
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* Processes and threads are as many as a machine of the smallest size bears, or fewer. */
#define PROCESSES 3000

static void files(void)
{
	struct rlimit limit = {100, 1024};
	int opened = 0, file;

	puts("# files");
	for (file = 3; file < 1024; file++)
		close(file);
	SHOW(setrlimit(RLIMIT_NOFILE, &limit));
	while ((file = open("/dev/null", O_RDONLY)) >= 0)
		opened++;
	SHOW_IS(errno == EMFILE);
	SHOW(opened);
	SHOW(dup2(0, 100));
	int ends[2];
	SHOW(pipe(ends));
	limit.rlim_cur = 10;
	SHOW(setrlimit(RLIMIT_NOFILE, &limit));
	SHOW(fcntl(99, F_GETFD));
	for (file = 3; file < 100; file++)
		close(file);
	limit = (struct rlimit){20, 10};
	SHOW(setrlimit(RLIMIT_NOFILE, &limit));
	SHOW(setrlimit(99, &limit));
	limit = (struct rlimit){1024, 1024};
	SHOW(setrlimit(RLIMIT_NOFILE, &limit));
}

static void arguments(char *own)
{
	size_t len = 100 << 10, count = 200;
	char *word = malloc(len + 1);
	char **words = malloc((count + 1) * sizeof(*words));
	char *none[] = {NULL};

	puts("# arguments");
	memset(word, 'x', len);
	word[len] = 0;
	for (size_t at = 0; at < count; at++)
		words[at] = word;
	words[count] = NULL;
	/* 20 MB. */
	SHOW(execve(own, words, none));
	SHOW(execve(own, none, words));
	free(words);
	free(word);
	/* One word that is too long. */
	word = malloc(1 << 20);
	memset(word, 'x', 1 << 20);
	word[(1 << 20) - 1] = 0;
	char *one[] = {own, word, NULL};
	SHOW(execve(own, one, none));
	free(word);
	/* A table that leads into nowhere. */
	words = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (size_t at = 0; at < 512; at++)
		words[at] = "x";
	SHOW(execve(own, words, none));
	munmap(words, 4096);
}

/* Forks until it does not work any more, or there are enough. */
static void processes(void)
{
	int count = 0, ended = 0, ends[2];
	char byte;
	pid_t child;

	puts("# processes");
	pipe(ends);
	while (count < PROCESSES && (child = fork()) >= 0) {
		if (child == 0) {
			close(ends[1]);
			read(ends[0], &byte, 1);
			_exit(0);
		}
		count++;
	}
	SHOW_IS(count == PROCESSES || errno == EAGAIN || errno == ENOMEM);
	SHOW_IS(count >= 100);
	close(ends[1]);
	close(ends[0]);
	while (wait(NULL) > 0)
		ended++;
	SHOW_IS(ended == count);
}

/* Mappings without end, all of them different. */
static void mappings(void)
{
	char *start = mmap(NULL, 1L << 30, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	long changed = 0;

	puts("# mappings");
	for (long page = 1; page < 1L << 18; page += 2) {
		if (mprotect(start + page * 4096, 4096, PROT_READ) == -1)
			break;
		changed++;
	}
	SHOW_IS(changed == 1L << 17 || errno == ENOMEM);
	SHOW(munmap(start, 1L << 30));
}

int main(int count, char **words)
{
	int status;
	pid_t child;

	if (count > 1 && strcmp(words[1], "x") == 0)
		return 3;
	files();
	arguments(words[0]);
	processes();
	child = fork();
	if (child == 0) {
		mappings();
		_exit(0);
	}
	waitpid(child, &status, 0);
	SHOW(status);
	puts("alive");
	return 0;
}
