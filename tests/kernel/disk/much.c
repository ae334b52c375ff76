// More of a file than there is memory, written and read back, and once more with every other piece
// replaced. The argument is the size in units of 1 MiB.
#include "common.h"

enum { PIECE = 64 << 10, WORDS = PIECE / 8 };

static uint64_t buffer[WORDS];

// What stands at a word of the file after so many rounds.
static uint64_t word(long piece, long at, int round) {
    uint64_t number = piece * WORDS + at;
    return number * 0x9e3779b97f4a7c15 + (piece % 2 ? 0 : round);
}

int main(int count, char **arguments) {
    CHECK(count == 2);
    long pieces = atol(arguments[1]) * ((1 << 20) / PIECE);
    int fd = MUST(open("much", O_RDWR | O_CREAT | O_EXCL, 0644));
    for (int round = 0; round < 2; round++) {
        for (long piece = 0; piece < pieces; piece += 1 + round) {
            for (long at = 0; at < WORDS; at++) buffer[at] = word(piece, at, round);
            CHECK(pwrite(fd, buffer, PIECE, piece * PIECE) == PIECE);
        }
        for (long piece = 0; piece < pieces; piece++) {
            CHECK(pread(fd, buffer, PIECE, piece * PIECE) == PIECE);
            for (long at = 0; at < WORDS; at++) CHECK(buffer[at] == word(piece, at, round));
        }
    }
    MUST(fsync(fd));
    printf("%ld pieces\n", pieces);
    return 0;
}
