// Package cert is a part of Kubernetes' package of that name: the build of the
// node image puts this file beside cert.go, which is made to use it
// (src/node-image/kubernetes-changes.ts).
//
// Whoever serves without a certificate of a CA makes one for itself when it
// starts: kubelets, the scheduler, the controller manager, the API server for
// its own loopback. With two RSA keys each that takes 60 to 170 ms of processor
// time, all of it before they serve. Keys on a curve take none.
package cert

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	cryptorand "crypto/rand"
	"crypto/x509"
)

func newSelfSignedKey() (*ecdsa.PrivateKey, error) {
	return ecdsa.GenerateKey(elliptic.P256(), cryptorand.Reader)
}

func selfSignedKeyBytes(key *ecdsa.PrivateKey) []byte {
	bytes, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		panic(err) // Only for a curve that x509 does not know.
	}
	return bytes
}
