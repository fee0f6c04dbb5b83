package page

import (
	"math"
	"regexp"
	"strconv"
	"testing"
)

// TestContrast holds the colours to WCAG 2.2 AA: 4.5:1 for text (1.4.3), 3:1 for the edges of controls and for focus
// (1.4.11), in both colour schemes.
func TestContrast(t *testing.T) {
	t.Parallel()
	css, err := staticFiles.ReadFile("static/gatehouse.css")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile(`(?s):root \{(.*?)\}`).FindAllSubmatch(css, -1)
	if len(blocks) != 2 {
		t.Fatalf("%d colour schemes, want light and dark", len(blocks))
	}
	for i, scheme := range []string{"light", "dark"} {
		colours := map[string]float64{}
		for _, m := range regexp.MustCompile(`--([a-z-]+): #([0-9a-f]{6});`).FindAllSubmatch(blocks[i][1], -1) {
			colours[string(m[1])] = luminance(t, string(m[2]))
		}
		check := func(least float64, pairs ...[2]string) {
			for _, p := range pairs {
				a, okA := colours[p[0]]
				b, okB := colours[p[1]]
				if ratio := (math.Max(a, b) + .05) / (math.Min(a, b) + .05); !okA || !okB || ratio < least {
					t.Errorf("%s: %s on %s is %.2f:1, want %.1f:1", scheme, p[0], p[1], ratio, least)
				}
			}
		}
		for _, ground := range []string{"ground", "sheet", "sunken"} {
			check(4.5, [2]string{"ink", ground}, [2]string{"ink-soft", ground}, [2]string{"accent", ground})
		}
		for _, kind := range []string{"danger", "warning", "success"} {
			check(4.5, [2]string{"ink", kind + "-ground"}, [2]string{kind, kind + "-ground"}, [2]string{kind, "sheet"})
		}
		check(4.5, [2]string{"on-accent", "accent"}, [2]string{"on-accent", "accent-strong"}, [2]string{"accent-strong", "sheet"})
		check(3, [2]string{"edge", "sheet"}, [2]string{"edge", "ground"}, [2]string{"accent", "ground"})
	}
}

// luminance is the relative luminance of WCAG 2.2.
func luminance(t *testing.T, hex string) float64 {
	n, err := strconv.ParseUint(hex, 16, 32)
	if err != nil {
		t.Fatal(err)
	}
	channel := func(shift uint) float64 {
		c := float64(n>>shift&0xff) / 255
		if c <= .04045 {
			return c / 12.92
		}
		return math.Pow((c+.055)/1.055, 2.4)
	}
	return .2126*channel(16) + .7152*channel(8) + .0722*channel(0)
}
