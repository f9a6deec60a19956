/* Preloaded into a program: reading the page at FAILING_READ_AT of a file whose name ends in FAILING_READ_OF fails
   with EIO, as it does where a disk is damaged; what lies before it in the same call is given. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PAGE 4096

static int is_it(int fd)
{
    const char *suffix = getenv("FAILING_READ_OF");
    char link[64], path[4096];
    ssize_t length;

    if (!suffix)
        return 0;
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    length = readlink(link, path, sizeof(path) - 1);
    if (length < (ssize_t)strlen(suffix))
        return 0;
    path[length] = '\0';
    return strcmp(path + length - strlen(suffix), suffix) == 0;
}

/* How many bytes may be read; -1 for none. */
static ssize_t allowed(int fd, size_t bytes, off64_t offset)
{
    const char *place = getenv("FAILING_READ_AT");
    off64_t at = place ? atoll(place) : 0;

    if (!place || offset >= at + PAGE || offset + (off64_t)bytes <= at || !is_it(fd))
        return (ssize_t)bytes;
    return offset < at ? (ssize_t)(at - offset) : -1;
}

ssize_t read(int fd, void *into, size_t bytes)
{
    static ssize_t (*real)(int, void *, size_t);
    ssize_t most = bytes ? allowed(fd, bytes, lseek64(fd, 0, SEEK_CUR)) : 0;

    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "read");
    if (most < 0) {
        errno = EIO;
        return -1;
    }
    return real(fd, into, (size_t)most);
}

ssize_t pread64(int fd, void *into, size_t bytes, off64_t offset)
{
    static ssize_t (*real)(int, void *, size_t, off64_t);
    ssize_t most = allowed(fd, bytes, offset);

    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "pread64");
    if (most < 0) {
        errno = EIO;
        return -1;
    }
    return real(fd, into, (size_t)most, offset);
}
