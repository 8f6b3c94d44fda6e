package probe

// linpackSize is the number of equations, the classic one.
const linpackSize = 100

// linpackFlops are the operations of one solution as the benchmark counts them.
const linpackFlops = 2.0/3*linpackSize*linpackSize*linpackSize + 2*linpackSize*linpackSize

// linpack solves a dense system of linear equations, as often as it is told.
func linpack(times int) {
	m := make([][]float64, linpackSize) // by columns
	for i := range m {
		m[i] = make([]float64, linpackSize)
	}
	b := make([]float64, linpackSize)
	pivots := make([]int, linpackSize)
	for range times {
		fillSystem(m, b)
		factor(m, pivots)
		solve(m, pivots, b)
	}
}

// fillSystem makes a system of pseudo-random numbers whose solution is all ones.
func fillSystem(m [][]float64, b []float64) {
	seed := 1325
	clear(b)
	for _, column := range m {
		for i := range column {
			seed = 3125 * seed % 65536
			column[i] = (float64(seed) - 32768) / 16384
			b[i] += column[i]
		}
	}
}

// factor is Linpack's dgefa: Gaussian elimination with partial pivoting, in place.
func factor(m [][]float64, pivots []int) {
	n := len(m)
	for k := range n - 1 {
		column := m[k]
		p := k
		for i := k + 1; i < n; i++ {
			if abs(column[i]) > abs(column[p]) {
				p = i
			}
		}
		pivots[k] = p
		column[k], column[p] = column[p], column[k]
		f := -1 / column[k]
		for i := k + 1; i < n; i++ {
			column[i] *= f
		}
		for _, other := range m[k+1:] {
			other[k], other[p] = other[p], other[k]
			axpy(other[k+1:], other[k], column[k+1:])
		}
	}
	pivots[n-1] = n - 1
}

// solve is Linpack's dgesl: it replaces b by the solution.
func solve(m [][]float64, pivots []int, b []float64) {
	n := len(m)
	for k := range n - 1 {
		p := pivots[k]
		b[k], b[p] = b[p], b[k]
		axpy(b[k+1:], b[k], m[k][k+1:])
	}
	for k := n - 1; k >= 0; k-- {
		b[k] /= m[k][k]
		axpy(b[:k], -b[k], m[k][:k])
	}
}

// axpy adds f times x to y.
func axpy(y []float64, f float64, x []float64) {
	x = x[:len(y)]
	for i := range y {
		y[i] += f * x[i]
	}
}

func abs(f float64) float64 {
	if f < 0 {
		return -f
	}
	return f
}
