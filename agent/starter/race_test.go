//go:build race

package starter

// raceDetector reserves hundreds of gigabytes of address space.
const raceDetector = true
