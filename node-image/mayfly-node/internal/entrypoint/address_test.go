package entrypoint

import "testing"

func TestOnlyWholeAddressesAreReplaced(t *testing.T) {
	for _, c := range []struct{ content, before, after, want string }{
		{"--advertise-address=172.18.0.2\n", "172.18.0.2", "172.18.0.5", "--advertise-address=172.18.0.5\n"},
		{"172.18.0.21 172.18.0.2", "172.18.0.2", "172.18.0.5", "172.18.0.21 172.18.0.5"},
		{"1172.18.0.2,172.18.0.2:2380", "172.18.0.2", "172.18.0.5", "1172.18.0.2,172.18.0.5:2380"},
		{"https://172.18.0.2:2379,https://172.18.0.2:2380", "172.18.0.2", "172.18.0.12", "https://172.18.0.12:2379,https://172.18.0.12:2380"},
		{"fd00::2 fd00::2a afd00::2", "fd00::2", "fd00::3", "fd00::3 fd00::2a afd00::2"},
		{"nothing", "172.18.0.2", "172.18.0.5", "nothing"},
		{"172.18.0.2.5 172.18.0.2", "172.18.0.2", "172.18.0.5", "172.18.0.2.5 172.18.0.5"},
	} {
		if got := string(replaceWholeAddress([]byte(c.content), c.before, c.after)); got != c.want {
			t.Errorf("%q became %q, not %q", c.content, got, c.want)
		}
	}
}
