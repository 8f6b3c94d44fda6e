package submitfile_test

import (
	"fmt"

	"skua/internal/submitfile"
)

func ExampleParse() {
	d, err := submitfile.Parse("sweep.sub", []byte(`
executable = simulate
arguments  = --seed $(Process) --tree $(tree)
output     = $(tree).$(Cluster).out
request_memory = 2GB
queue tree in (oak elm)
`), submitfile.Options{Dir: "/home/anna"})
	if err != nil {
		fmt.Println(err)
		return
	}
	sub, err := d.Expand(7) // the number of the cluster, from the queue
	if err != nil {
		fmt.Println(err)
		return
	}
	memory, _ := sub.Cluster.Int("RequestMemory")
	fmt.Println(memory, "MB each")
	for _, p := range sub.Procs {
		args, _ := p.Ad.Str("Args")
		out, _ := p.Ad.Str("Out")
		fmt.Println(p.ID, args, out)
	}
	// Output:
	// 2048 MB each
	// 7.0 --seed 0 --tree oak oak.7.out
	// 7.1 --seed 1 --tree elm elm.7.out
}
