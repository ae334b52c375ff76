/* A running program cannot be written, and a file that is open for writing cannot be run. */
#include "common.h"

static int run(const char *name) {
	pid_t child = MUST(fork());
	int status;
	if (child == 0) {
		execl(name, name, "again", (char *)0);
		_exit(errno == ETXTBSY ? 26 : 1);
	}
	MUST(waitpid(child, &status, 0));
	return WEXITSTATUS(status);
}

int main(int count, char **arguments) {
	static char buffer[1 << 16];
	long n;
	if (count == 2) {
		told("open the running program", open("copy", O_WRONLY));
		told("cut it off", truncate("copy", 0));
		told("open it to read", open("copy", O_RDONLY) > 0);
		return 7;
	}
	setvbuf(stdout, 0, _IONBF, 0);
	int from = MUST(open("/proc/self/exe", O_RDONLY));
	int to = MUST(open("copy", O_WRONLY | O_CREAT | O_EXCL, 0755));
	while ((n = MUST(read(from, buffer, sizeof buffer))) > 0) CHECK(write(to, buffer, n) == n);
	printf("while it is open: %d\n", run("./copy"));
	MUST(close(to));
	printf("afterwards: %d\n", run("./copy"));
	told("open it to write", MUST(open("copy", O_WRONLY)) > 0);
	printf("while it is open: %d\n", run("./copy"));
	(void)arguments;
	return 0;
}
