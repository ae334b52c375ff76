/* A child in a group of its own has the console: Ctrl-C ends it, and not its parent. */
#include "common.h"
#include <sys/wait.h>

int main(void)
{
	int status;
	pid_t child = MUST(fork());

	if (child == 0) {
		MUST(setpgid(0, 0));
		MUST(tcsetpgrp(0, getpid()));
		MUST(write(1, "waits\n", 6));
		for (;;)
			pause();
	}
	MUST(waitpid(child, &status, 0));
	printf("ended by %d\n", WTERMSIG(status));
	MUST(tcsetpgrp(0, getpgrp()));
	printf("the foreground is %s\n", tcgetpgrp(0) == getpgrp() ? "its own" : "another's");
	return 0;
}
