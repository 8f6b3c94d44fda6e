package classad

// The attributes that matching reads.
const (
	AttrRequirements = "Requirements"
	AttrRank         = "Rank"
)

// Match reports whether a and b accept each other: the Requirements of each, evaluated against the
// other, are true. An ad without Requirements accepts nothing.
func Match(a, b *Ad) bool {
	return a.Eval(AttrRequirements, b).IsTrue() && b.Eval(AttrRequirements, a).IsTrue()
}

// Rank tells how much my likes target: the value of my's Rank, 0 if that is not a number.
func Rank(my, target *Ad) float64 {
	r, _ := my.Eval(AttrRank, target).Real()
	return r
}
