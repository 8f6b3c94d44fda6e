//go:build linux && !amd64 && !arm64

package starter

// abis is empty: nobody has written down what jobs may not do here.
var abis []abi
