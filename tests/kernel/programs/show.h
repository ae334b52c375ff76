/* What the programs print: one line for each call, the same on Linux and in the kernel. */
#ifndef SHOW_H
#define SHOW_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Children inherit nothing that is not written yet. */
__attribute__((constructor)) static void write_at_once(void)
{
	setvbuf(stdout, NULL, _IONBF, 0);
}

/* The name of an error: musl has none. */
static const char *error_name(int number)
{
	switch (number) {
#define NAME(error) case error: return #error;
	NAME(EPERM) NAME(ENOENT) NAME(ESRCH) NAME(EINTR) NAME(EIO) NAME(ENXIO) NAME(E2BIG)
	NAME(ENOEXEC) NAME(EBADF) NAME(ECHILD) NAME(EAGAIN) NAME(ENOMEM) NAME(EACCES)
	NAME(EFAULT) NAME(EBUSY) NAME(EEXIST) NAME(EXDEV) NAME(ENOTDIR) NAME(EISDIR)
	NAME(EINVAL) NAME(EMFILE) NAME(ENOTTY) NAME(EFBIG) NAME(ENOSPC) NAME(ESPIPE)
	NAME(EPIPE) NAME(ERANGE) NAME(ENOSYS) NAME(ETIMEDOUT) NAME(EROFS) NAME(ENAMETOOLONG)
	NAME(ENOTEMPTY) NAME(ELOOP) NAME(EOVERFLOW) NAME(EOPNOTSUPP) NAME(EDEADLK)
	NAME(ENOTSOCK) NAME(EMSGSIZE) NAME(EPROTOTYPE) NAME(EPROTONOSUPPORT)
	NAME(ESOCKTNOSUPPORT) NAME(EAFNOSUPPORT) NAME(EADDRINUSE) NAME(EISCONN) NAME(ENOTCONN)
	NAME(ECONNREFUSED) NAME(ENOPROTOOPT) NAME(ENODATA)
#undef NAME
	}
	return "another error";
}

/* Prints a call and its result: a number, or the error. Returns the result. */
__attribute__((unused)) static long show_result(const char *call, long result)
{
	int error = errno;

	if (result == -1)
		printf("%s = %s\n", call, error_name(error));
	else
		printf("%s = %ld\n", call, result);
	errno = error;
	return result;
}

#define SHOW(call) show_result(#call, (long)(call))
/* For results that are not the same each time: whether there was an error. */
#define SHOW_DONE(call) show_result(#call, (long)(call) == -1 ? -1 : 0)
/* For conditions. */
#define SHOW_IS(condition)                                                     \
	do {                                                                   \
		printf("%s: %s\n", #condition, (condition) ? "yes" : "no");    \
	} while (0)

#endif
