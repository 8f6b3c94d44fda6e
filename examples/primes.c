/* Count the primes below N by trial division, with progress. Usage: primes [N]
 *
 * Build it so that it runs on every machine of the pool:  cc -O2 -static -o primes primes.c
 */
#include <stdio.h>
#include <stdlib.h>

static int is_prime(unsigned long n)
{
	if (n < 4)
		return n > 1;
	if (n % 2 == 0)
		return 0;
	for (unsigned long d = 3; d * d <= n; d += 2)
		if (n % d == 0)
			return 0;
	return 1;
}

int main(int argc, char **argv)
{
	char *end = NULL;
	unsigned long limit = argc > 1 ? strtoul(argv[1], &end, 10) : 30000000;
	if (argc > 2 || limit < 10 || (end && *end)) {
		fprintf(stderr, "usage: primes [N], N at least 10\n");
		return 2;
	}
	unsigned long count = 0;
	for (unsigned long n = 0; n < limit; n++) {
		count += is_prime(n);
		if ((n + 1) % (limit / 10) == 0) {
			printf("%lu primes below %lu\n", count, n + 1);
			fflush(stdout);
		}
	}
	printf("total %lu\n", count);
	return 0;
}
