/* Throw darts at a square and count those that hit the quarter circle in it. Usage: darts SEED THROWS
 *
 * Prints one line, "hits H of N", which reduce.py adds up. The darts depend on the seed alone.
 * Build it so that it runs on every machine of the pool:  cc -O2 -static -o darts darts.c
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* splitmix64: neighbouring seeds give independent numbers. */
static uint64_t next(uint64_t *state)
{
	uint64_t z = (*state += 0x9E3779B97F4A7C15u);
	z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
	z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
	return z ^ (z >> 31);
}

int main(int argc, char **argv)
{
	if (argc != 3 || atoll(argv[2]) < 1) {
		fprintf(stderr, "usage: darts SEED THROWS\n");
		return 2;
	}
	uint64_t state = strtoull(argv[1], NULL, 10) * 0xD1342543DE82EF95u;
	long long throws = atoll(argv[2]), hits = 0;
	for (long long i = 0; i < throws; i++) {
		double x = (next(&state) >> 11) * 0x1p-53, y = (next(&state) >> 11) * 0x1p-53;
		hits += x * x + y * y < 1;
	}
	printf("hits %lld of %lld\n", hits, throws);
	return 0;
}
