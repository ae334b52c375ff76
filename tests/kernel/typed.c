/* A child in a group of its own has the console: Ctrl-C ends it, and not its parent, which then
   reads lines that were edited, and bytes without a line. */
#include "common.h"
#include <sys/wait.h>
#include <termios.h>

static void show(void)
{
	char bytes[64];
	long len = MUST(read(0, bytes, sizeof bytes));

	printf("%ld:", len);
	for (long at = 0; at < len; at++)
		printf(" %d", bytes[at]);
	printf("\n");
}

int main(void)
{
	struct termios settings;
	int status;

	MUST(tcgetattr(0, &settings));
	settings.c_lflag &= ~ECHO;
	MUST(tcsetattr(0, TCSANOW, &settings));
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
	for (int line = 0; line < 4; line++)
		show();
	/* The rest comes without the end of a line. */
	settings.c_lflag &= ~ICANON;
	MUST(tcsetattr(0, TCSANOW, &settings));
	show();
	return 0;
}
