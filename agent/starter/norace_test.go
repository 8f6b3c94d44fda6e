//go:build !race

package starter

const raceDetector = false
