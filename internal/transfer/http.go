package transfer

import (
	"crypto/tls"
	"net"
	"net/http"
	"time"
)

// NewHTTP makes an HTTP client that suits a [Client]: for a server known by tlsConfig, which names the
// pool's certificate authority.
func NewHTTP(tlsConfig *tls.Config) *http.Client {
	var http1 http.Protocols
	http1.SetHTTP1(true) // one stream per connection: HTTP/2's windows halve the speed of uploads
	return &http.Client{
		Transport: &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			DialContext:           (&net.Dialer{Timeout: 15 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
			TLSClientConfig:       tlsConfig,
			TLSHandshakeTimeout:   15 * time.Second,
			ExpectContinueTimeout: 5 * time.Second,
			MaxIdleConnsPerHost:   4,
			IdleConnTimeout:       30 * time.Second, // an idle agent holds nothing
			DisableCompression:    true,             // what is worth it is compressed
			Protocols:             &http1,
			ReadBufferSize:        64 << 10,
			WriteBufferSize:       64 << 10,
		},
		// A redirect would carry the capability somewhere else.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
