package entrypoint

import (
	"net/netip"
	"testing"
)

func TestQueriesToTheGatewayReachTheEnginesDNS(t *testing.T) {
	saved := `*nat
:PREROUTING ACCEPT [0:0]
:DOCKER_OUTPUT - [0:0]
-A OUTPUT -d 127.0.0.11/32 -j DOCKER_OUTPUT
-A DOCKER_OUTPUT -d 127.0.0.11/32 -p tcp -m tcp --dport 53 -j DNAT --to-destination 127.0.0.11:41239
-A DOCKER_OUTPUT -d 127.0.0.11/32 -p udp -m udp --dport 53 -j DNAT --to-destination 127.0.0.11:36027
-A DOCKER_POSTROUTING -s 127.0.0.11/32 -p tcp -m tcp --sport 41239 -j SNAT --to-source :53
COMMIT
`
	want := `*nat
:MAYFLY_DNS - [0:0]
-A MAYFLY_DNS -d 172.18.0.1/32 -p tcp --dport 53 -j DNAT --to-destination 127.0.0.11:41239
-A MAYFLY_DNS -d 172.18.0.1/32 -p udp --dport 53 -j DNAT --to-destination 127.0.0.11:36027
-A OUTPUT -j MAYFLY_DNS
-A PREROUTING -j MAYFLY_DNS
COMMIT
`
	if got := dnsRules(saved, netip.MustParseAddr("172.18.0.1")); got != want {
		t.Errorf("rules are\n%s", got)
	}
}

func TestSearchDomainsReplaceTheHosts(t *testing.T) {
	before := "search example.com\nnameserver 172.18.0.1\ndomain example.com\noptions ndots:0\n"
	for domains, want := range map[string]string{
		"a.test b.test": "nameserver 172.18.0.1\noptions ndots:0\nsearch a.test b.test\n",
		"":              "nameserver 172.18.0.1\noptions ndots:0\n",
	} {
		if got := withSearch(before, domains); got != want {
			t.Errorf("with %q the file is %q", domains, got)
		}
	}
}
