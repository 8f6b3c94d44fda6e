//go:build !race

package pooltest_test

const raceDetector = false
