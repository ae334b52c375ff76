/* Bytes that move from one open file to another. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <unistd.h>

#include "show.h"

static char text[8193];

static void splices(int file)
{
	int ends[2], more[2], to;
	loff_t at = 8190;

	SHOW(pipe(ends));
	SHOW(pipe(more));
	SHOW_DONE(to = open("to", O_CREAT | O_RDWR, 0600));
	SHOW(splice(file, &at, ends[1], NULL, 100, 0));
	SHOW(at);
	SHOW(splice(file, &at, ends[1], NULL, 100, 0));
	SHOW(tee(ends[0], more[1], 2, 0));
	SHOW(tee(ends[0], ends[1], 2, 0));
	SHOW(tee(file, more[1], 2, 0));
	SHOW(splice(ends[0], NULL, to, NULL, 100, 0));
	SHOW(lseek(to, 0, SEEK_CUR));
	at = 5;
	SHOW(splice(more[0], NULL, to, &at, 1, 0));
	SHOW(at);
	SHOW(splice(more[0], NULL, ends[1], NULL, 100, 0));
	SHOW(splice(ends[0], &at, to, NULL, 1, 0));
	SHOW(splice(file, NULL, to, NULL, 1, 0));
	SHOW(splice(ends[0], NULL, ends[1], NULL, 1, 0));
	SHOW(splice(ends[1], NULL, to, NULL, 1, 0));
	SHOW(splice(ends[0], NULL, to, NULL, 1, 0x1000));
	SHOW(splice(more[0], NULL, to, NULL, 1, SPLICE_F_NONBLOCK));
	SHOW(splice(ends[0], NULL, to, NULL, 0, 0));
	SHOW(fcntl(to, F_SETFL, O_APPEND));
	SHOW(splice(ends[0], NULL, to, NULL, 1, 0));
	struct iovec part = { text, 10 };
	SHOW(vmsplice(more[1], &part, 1, 0));
	SHOW(vmsplice(file, &part, 1, 0));
	SHOW(lseek(to, 0, SEEK_END));
	close(ends[0]);
	close(ends[1]);
	close(more[0]);
	close(more[1]);
	close(to);
}

static void sends(int file)
{
	int ends[2], to;
	off_t at = 0;

	SHOW(pipe(ends));
	SHOW_DONE(to = open("sent", O_CREAT | O_RDWR, 0600));
	SHOW(sendfile(to, file, &at, 8193));
	SHOW(at);
	SHOW(lseek(to, 0, SEEK_CUR));
	SHOW(lseek(file, 8000, SEEK_SET));
	SHOW(sendfile(ends[1], file, NULL, 1000));
	SHOW(lseek(file, 0, SEEK_CUR));
	SHOW(sendfile(to, ends[0], NULL, 1));
	SHOW(sendfile(ends[0], file, NULL, 1));
	SHOW(sendfile(to, file, (off_t *)8, 1));
	at = -1;
	SHOW(sendfile(to, file, &at, 1));
	close(ends[0]);
	close(ends[1]);
	close(to);
}

static void copies(int file)
{
	int to, only, folder;
	loff_t from = 100, at = 0;

	SHOW_DONE(to = open("copy", O_CREAT | O_RDWR, 0600));
	SHOW_DONE(only = open("copy", O_RDONLY));
	SHOW_DONE(folder = open(".", O_RDONLY));
	SHOW(copy_file_range(file, &from, to, &at, 9000, 0));
	SHOW(from);
	SHOW(at);
	SHOW(copy_file_range(file, &from, to, &at, 1, 0));
	SHOW(copy_file_range(file, &from, to, &at, 1, 1));
	SHOW(copy_file_range(file, &from, only, &at, 1, 0));
	SHOW(copy_file_range(file, &from, folder, &at, 1, 0));
	from = 0;
	SHOW(copy_file_range(to, &from, to, &from, 1, 0));
	from = -1;
	SHOW(copy_file_range(file, &from, to, &at, 1, 0));
	close(to);
	close(only);
	close(folder);
}

int main(void)
{
	int file = open("from", O_CREAT | O_RDWR, 0600);

	for (size_t at = 0; at < sizeof text; at++)
		text[at] = (char)at;
	SHOW(write(file, text, sizeof text));
	splices(file);
	sends(file);
	copies(file);
	close(file);
	return 0;
}
