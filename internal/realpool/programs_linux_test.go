package realpool_test

import (
	"fmt"
	"strings"
)

// program is a kind of program that is moved while it works. It works for some ten seconds and always says the same.
type program struct {
	name  string
	needs string            // the command without which it cannot run here, if it is none of every system
	files map[string]string // that go with it
	build []string          // command that makes its executable of them, in the directory of its files
	work  string            // shell text; what it writes to standard output is compared

	refused string // in the reason why it cannot be checkpointed, which is to be known before it has to leave
}

var programs = []program{
	{name: "shell", work: `i=0; s=1
while [ $i -lt 6000000 ]; do i=$((i+1)); s=$(((s*75+74)%65537)); done
echo $s`},

	{name: "children", work: `i=0
while [ $i -lt 60 ]; do
	i=$((i+1))
	(head -c 200000 /dev/zero | md5sum; sleep 0.1) &
	[ $((i%4)) -ne 0 ] || wait
done | md5sum
wait`},

	{name: "pipeline", work: `seq 1 15000000 | awk '{print ($1*7919)%1000003}' | sort -n -S 64M | uniq -c | md5sum`},

	{name: "python", needs: "python3", work: `exec python3 -c '
import hashlib, os, tempfile, threading, time
gone = tempfile.TemporaryFile()            # open, and deleted
held = bytearray(64 << 20)                 # some memory
lock, sums = threading.Lock(), {}
def work(n):
    h = hashlib.sha256()
    for i in range(2000000):
        h.update(b"%d %d" % (n, i))
        if i % 1000 == 0:
            with lock:
                gone.write(h.digest()); held[(n * 7919 + i) % len(held)] ^= h.digest()[0]
    sums[n] = h.hexdigest()
threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
begun = time.monotonic()
for t in threads: t.start()
for t in threads: t.join()
assert 0 < time.monotonic() - begun < 600  # the clock has not jumped
gone.seek(0, os.SEEK_END)
print([sums[n] for n in range(4)], gone.tell())
'`},

	{name: "perl", needs: "perl", work: `exec perl -e '
my %seen; my $x = 12345;
for my $i (1 .. 60_000_000) { $x = ($x * 1103515245 + 12345) & 0x7fffffff; $seen{$x % 1000}++ if $x % 3 == 0; }
print join(" ", map { "$_=$seen{$_}" } sort { $a <=> $b } keys %seen), "\n";'`},

	{name: "awk", work: `exec awk 'BEGIN { for (i = 1; i <= 90000000; i++) s = (s + i * i) % 1000003; print s }'`},

	{
		name: "threads-in-c", needs: "gcc", files: map[string]string{"threads.c": threadsInC},
		build: []string{"gcc", "-O1", "-pthread", "-o", "threads", "threads.c"}, work: `exec ./threads`,
	},

	{
		name: "go", needs: "go", files: map[string]string{"main.go": goroutines, "go.mod": "module goroutines\n\ngo 1.21\n"},
		build: []string{"go", "build", "-o", "goroutines", "."}, work: `exec ./goroutines`,
	},

	{name: "loopback", needs: "python3", work: `exec python3 -c '
import hashlib, socket, threading
server = socket.create_server(("127.0.0.1", 0))
def serve():
    c, _ = server.accept()
    while True:
        b = c.recv(32)
        if not b: return
        c.sendall(hashlib.sha256(b).digest())
threading.Thread(target=serve, daemon=True).start()
c, b = socket.create_connection(server.getsockname()), b"." * 32
for i in range(300000):
    c.sendall(b)
    b = b""
    while len(b) < 32: b += c.recv(32 - len(b))
print(b.hex())'`},

	{name: "xz", needs: "xz", work: `seq 1 2500000 | xz -6 -T2 -c | md5sum`},

	{name: "bc", needs: "bc", work: `echo 'scale=2600; a(1)*4' | BC_LINE_LENGTH=0 bc -l | md5sum`},

	{name: "sqlite", needs: "sqlite3", work: `exec sqlite3 work.db "pragma journal_mode=wal;
create table t(a integer primary key, b text);
with recursive n(i) as (select 1 union all select i+1 from n where i < 1500000) insert into t select i, hex(i * 7919 % 1000003) from n;
create index b on t(b);
select count(distinct b), sum(length(b)), max(b) from t;"`},

	{
		name: "povray", needs: "povray", files: map[string]string{"scene.pov": scene},
		work: `povray +Iscene.pov +Oscene.png +W400 +H300 +A0.1 +WT2 -D -GA >povray.log 2>&1 || { tail povray.log; exit 1; }
python3 -c 'import sys, zlib, struct
d, pixels, at = open("scene.png", "rb").read(), b"", 8
while at < len(d):
    n, = struct.unpack(">I", d[at:at+4])
    if d[at+4:at+8] == b"IDAT": pixels += d[at+8:at+8+n]
    at += n + 12
print(zlib.crc32(zlib.decompress(pixels)))'`,
	},

	{name: "primesieve", needs: "primesieve", work: `exec primesieve 60000000000 --quiet --no-status --threads=2`},

	{name: "ecm", needs: "ecm", work: `echo '(2^521-1)*(2^607-1)' | ecm -sigma 1:42 1000000 20000000 | grep -v -i 'took\|gmp-ecm'; true`},

	{
		name: "cadical", needs: "cadical", files: map[string]string{"pigeons.cnf": pigeons(9)},
		work: `cadical -q pigeons.cnf; [ $? -eq 20 ] && echo unsatisfiable`,
	},

	{
		name: "minisat", needs: "minisat", files: map[string]string{"pigeons.cnf": pigeons(9)},
		work: `minisat -verb=0 pigeons.cnf | grep -v -i 'time\|memory'`,
	},

	{name: "sox", needs: "sox", work: `sox -R -n -r 48000 sound.wav synth 120 sine 300-3300 vol 0.5 reverb 80 chorus 0.7 0.9 55 0.4 0.25 2 -t phaser 0.8 0.74 3 0.4 0.5 -t && md5sum <sound.wav`},

	{name: "octave", needs: "octave-cli", work: `exec octave-cli --no-gui --quiet --eval '
a = reshape(mod((1:90000) * 7919, 1009), 300, 300) / 1009;
s = 0; for i = 1:220, b = a * a; a = b / max(b(:)); s = mod(s + sum(round(a(:) * 1000)), 1e9); end
printf("%d\n", s);'`},

	{name: "r", needs: "Rscript", work: `exec Rscript -e '
set.seed(42); s <- 0
for (i in 1:150) { x <- sort(runif(100000)); s <- s + sum(x[seq(1, 100000, 997)]) }
cat(format(s, digits = 15), "\n")'`},

	{name: "system-v-memory", needs: "perl", refused: "System V shared memory", work: `exec perl -e '
my $id = shmget(0, 4096, 0600 | 01000) // die $!;
my $s = 0; my $until = time + 40;
while (time < $until) { shmwrite($id, pack("N", $_), 0, 4) for 1 .. 1000; }
shmread($id, my $last, 0, 4); shmctl($id, 0, 0);
print unpack("N", $last), "\n";'`},

	{
		name: "java", needs: "java", files: map[string]string{"Sums.java": sumsInJava},
		work: `exec java -Xmx256m -Xshare:auto Sums.java`,
	},
}

const threadsInC = `#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { THREADS = 8, ROUNDS = 1000000000 };
static pthread_barrier_t all;
static volatile int ticks;
static uint64_t *shared;

static void tick(int s) { (void)s; ticks++; }

static void *work(void *n) {
	uint64_t x = (uintptr_t)n + 1;
	for (int part = 0; part < 10; part++) {
		for (int i = 0; i < ROUNDS / 10; i++) x = x * 6364136223846793005u + 1442695040888963407u;
		shared[(uintptr_t)n] ^= x;
		pthread_barrier_wait(&all);
	}
	return 0;
}

int main(void) {
	pthread_t t[THREADS];
	timer_t timer;
	struct itimerspec each = {{0, 10000000}, {0, 10000000}};
	shared = mmap(0, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED) return 1;
	signal(SIGALRM, tick);
	if (timer_create(CLOCK_MONOTONIC, 0, &timer) || timer_settime(timer, 0, &each, 0)) return 2;
	pthread_barrier_init(&all, 0, THREADS);
	for (uintptr_t n = 0; n < THREADS; n++) pthread_create(&t[n], 0, work, (void *)n);
	for (int n = 0; n < THREADS; n++) pthread_join(t[n], 0);
	int before = ticks;
	while (ticks < before + 2) pause(); /* the timer goes on */
	for (int n = 0; n < THREADS; n++) printf("%016llx\n", (unsigned long long)shared[n]);
	return 0;
}
`

const goroutines = `package main

import (
	"crypto/sha256"
	"fmt"
	"sync"
	"time"
)

func main() {
	const workers = 100
	sums, begun := make([][32]byte, workers), time.Now()
	tick := time.NewTicker(20 * time.Millisecond)
	var wg sync.WaitGroup
	for n := range sums {
		wg.Add(1)
		go func(n int) {
			defer wg.Done()
			for i := 0; i < 400000; i++ {
				sums[n] = sha256.Sum256(append(sums[n][:], byte(i), byte(n)))
			}
		}(n)
	}
	wg.Wait()
	<-tick.C
	<-tick.C // the ticker goes on
	all := sha256.New()
	for _, s := range sums {
		all.Write(s[:])
	}
	if d := time.Since(begun); d < 0 || d > 10*time.Minute {
		panic(d)
	}
	fmt.Printf("%x\n", all.Sum(nil))
}
`

const sumsInJava = `import java.security.MessageDigest;
import java.util.*;
import java.util.concurrent.*;

public class Sums {
	public static void main(String[] args) throws Exception {
		ExecutorService pool = Executors.newFixedThreadPool(4);
		List<Future<byte[]>> all = new ArrayList<>();
		for (int n = 0; n < 8; n++) {
			final int seed = n;
			all.add(pool.submit(() -> {
				MessageDigest d = MessageDigest.getInstance("SHA-256");
				byte[] b = {(byte) seed};
				for (int i = 0; i < 4000000; i++) b = d.digest(b);
				return b;
			}));
		}
		StringBuilder s = new StringBuilder();
		for (Future<byte[]> f : all) for (byte b : f.get()) s.append(String.format("%02x", b));
		pool.shutdown();
		System.out.println(s);
	}
}
`

const scene = `camera { location <0, 3, -8> look_at <0, 1, 0> }
light_source { <5, 10, -10> color rgb 1 area_light <2, 0, 0>, <0, 0, 2>, 4, 4 }
plane { y, 0 pigment { checker color rgb 1, color rgb 0.2 } finish { reflection 0.3 } }
#declare I = 0;
#while (I < 40)
  sphere { <4*sin(I), 0.5 + mod(I, 5)/2, 4*cos(I)>, 0.5 pigment { color rgbf <mod(I, 3)/3, mod(I, 7)/7, 0.6, 0.4> }
    finish { reflection 0.4 phong 1 } interior { ior 1.3 } }
  #declare I = I + 1;
#end
`

// pigeons says that n+1 pigeons have a hole each of n holes, in the DIMACS form. It takes long to see that they have not.
func pigeons(n int) string {
	var clauses []string
	in := func(pigeon, hole int) int { return pigeon*n + hole + 1 }
	for p := range n + 1 {
		var some []string
		for h := range n {
			some = append(some, fmt.Sprint(in(p, h)))
		}
		clauses = append(clauses, strings.Join(some, " ")+" 0")
	}
	for h := range n {
		for p := range n + 1 {
			for q := range p {
				clauses = append(clauses, fmt.Sprintf("-%d -%d 0", in(p, h), in(q, h)))
			}
		}
	}
	return fmt.Sprintf("p cnf %d %d\n%s\n", (n+1)*n, len(clauses), strings.Join(clauses, "\n"))
}
