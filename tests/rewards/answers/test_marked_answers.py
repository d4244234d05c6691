"""Answers of every kind of mathematics in every notation: what equals a gold, and near misses that do not."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewards.answers.equality import equal
from rewards.answers.grammar import read
from rewards.contract import Case
from rewards.verifiers import math

# A line each: the gold ⟹ what equals it ≠ what does not, parted by ┃
TABLES = {
    "fractions": r"""
\frac{3}{4} ⟹ \dfrac{3}{4} ┃ \tfrac34 ┃ \frac34 ┃ \frac3{4} ┃ \frac{3}4 ┃ 3/4 ┃ 0.75 ┃ .75 ┃ \cfrac{3}{4} ┃ {3 \over 4} ┃ \frac{ 3 }{ 4 } ┃ \left(\frac{3}{4}\right) ┃ \displaystyle\frac{3}{4} ┃ \frac{-3}{-4} ┃ \frac{6}{8} ┃ 75\% ┃ \dfrac 3 4 ┃ 3 / 4 ┃ \frac{3}{4}. ┃ \frac{3}{4}\, ┃ \mathbf{\frac{3}{4}} ┃ \\frac{3}{4} ┃ \\dfrac{3}{4} ≠≠ \frac{4}{3} ┃ -\frac34 ┃ \frac{3}{5} ┃ 34 ┃ 3 ┃ 4 ┃ 0.7 ┃ 0.74 ┃ 75 ┃ 3:5
-\frac{3}{2} ⟹ \frac{-3}{2} ┃ \frac{3}{-2} ┃ -1.5 ┃ -1\frac12 ┃ -1 \frac{1}{2} ┃ -\dfrac{3}{2} ┃ -3/2 ┃ \left(-\frac{3}{2}\right) ┃ - \frac{3}{2} ┃ -\left(\frac{3}{2}\right) ≠≠ \frac32 ┃ -\frac23 ┃ 1\frac12 ┃ -\frac{3}{2}i ┃ -1\frac13 ┃ \frac{-3}{-2}
\frac{2}{3} ⟹ \frac{\frac{1}{3}}{\frac{1}{2}} ┃ 0.\overline{6} ┃ 0.6666666667 ┃ 0.\dot{6} ┃ 0.\bar{6} ┃ \frac{2}{3}\approx 0.67 ┃ 66\frac{2}{3}\% ┃ \frac 2 3 ┃ 2/3 ≠≠ 0.67 ┃ 0.6 ┃ \frac{\frac13}{2} ┃ 0.7 ┃ \frac{3}{2} ┃ 0.\overline{67}
\frac{7}{12} ⟹ \frac{ 7}{12 } ┃ \frac7{12} ┃ 7/12 ┃ {\frac{7}{12}} ┃ \frac{14}{24} ┃ \left(\dfrac{7}{12}\right) ┃ \frac{7}{12}\text{.} ┃ p=\frac{7}{12} ┃ \dfrac{7}{12}\approx0.583 ┃ P=\dfrac{7}{12} ┃ 7 \div 12 ┃ \frac{\text{7}}{\text{12}} ≠≠ \frac{12}{7} ┃ \frac{7}{13} ┃ \frac71 2 ┃ 0.58 ┃ -\frac{7}{12} ┃ 7.12 ┃ 7:13 ┃ \frac{7}{1}
\frac{a+b}{c} ⟹ \frac{a}{c}+\frac{b}{c} ┃ (a+b)/c ┃ \frac{b+a}{c} ┃ \frac1c(a+b) ≠≠ a+\frac{b}{c} ┃ a+b/c ┃ \frac{a-b}{c} ┃ \frac{c}{a+b}
\frac{1}{1+\frac{1}{x}} ⟹ \frac{x}{x+1} ┃ \cfrac{1}{1+\cfrac{1}{x}} ┃ 1-\frac{1}{x+1} ≠≠ \frac{x+1}{x} ┃ \frac{1}{x+1}
\frac{11}{36} ⟹ \dfrac{11}{36} ┃ \frac{11}{36}\\ ┃ \left\{\frac{11}{36}\right\} ┃ 11/36 ┃ \mathrm{P}=\frac{11}{36} ┃ P(A)=\frac{11}{36} ┃ \frac{11 }{ 36} ≠≠ \frac{11}{63} ┃ \frac{36}{11} ┃ 0.3056 ┃ \frac{1}{36} ┃ \frac{11}{36}\pi
""",
    "roots": r"""
\sqrt{2} ⟹ \sqrt2 ┃ \sqrt 2 ┃ 2^{1/2} ┃ 2^{\frac12} ┃ \sqrt[2]{2} ┃ \frac{2}{\sqrt{2}} ┃ \sqrt{\sqrt{4}} ┃ 1.41421356 ┃ √2 ┃ \left(\sqrt{2}\right) ┃ \sqrt{2\,} ┃ \sqrt{ 2 } ≠≠ 2 ┃ \sqrt{3} ┃ -\sqrt2 ┃ \sqrt[3]{2} ┃ 1.4 ┃ \sqrt{2}i ┃ \frac{1}{\sqrt2} ┃ \sqrt{20}
2\sqrt{3} ⟹ \sqrt{12} ┃ 2\sqrt3 ┃ 2 \cdot \sqrt{3} ┃ 2\cdot\sqrt3 ┃ \frac{6}{\sqrt{3}} ┃ 2*\sqrt{3} ┃ 2 \times \sqrt{3} ┃ \sqrt{3}\cdot2 ┃ \frac{2\sqrt{9}}{\sqrt{3}} ┃ 2\sqrt{3}\text{ cm} ┃ 2 \sqrt{3} ┃ \sqrt{3}+\sqrt{3} ≠≠ 3\sqrt2 ┃ \sqrt{6} ┃ 2\sqrt{3}+1 ┃ \sqrt[3]{2} ┃ 2+\sqrt{3} ┃ 23 ┃ 2\sqrt{3}x
\frac{\sqrt{6}+\sqrt{2}}{4} ⟹ \frac{\sqrt{2}+\sqrt{6}}{4} ┃ \frac{\sqrt6}{4}+\frac{\sqrt2}{4} ┃ \frac{1}{4}(\sqrt{6}+\sqrt{2}) ┃ \frac{\sqrt2(\sqrt3+1)}{4} ┃ \frac{1+\sqrt{3}}{2\sqrt{2}} ┃ \cos 15^\circ ┃ \sin\frac{5\pi}{12} ┃ (\sqrt6+\sqrt2)/4 ≠≠ \frac{\sqrt{6}-\sqrt{2}}{4} ┃ \frac{\sqrt{6}+\sqrt{2}}{2} ┃ \sqrt{6}+\sqrt{2} ┃ \frac{\sqrt8}{4}
\sqrt[3]{4} ⟹ 4^{1/3} ┃ 2^{2/3} ┃ \sqrt[3]{ 4 } ┃ \sqrt[ 3 ]{4} ┃ \sqrt[3]4 ┃ 4^{\frac{1}{3}} ┃ ∛4 ┃ \sqrt[6]{16} ≠≠ \sqrt4 ┃ 3\sqrt4 ┃ \sqrt[4]{3} ┃ 4^3 ┃ \sqrt[3]{2} ┃ 2
\sqrt{3+2\sqrt{2}} ⟹ 1+\sqrt{2} ┃ \sqrt2+1 ┃ \sqrt{3+\sqrt{8}} ≠≠ \sqrt{3-2\sqrt{2}} ┃ 1-\sqrt2 ┃ \sqrt{3}+2\sqrt2
\sqrt{2+\sqrt{2}} ⟹ \sqrt{2 + \sqrt2} ┃ \sqrt{\sqrt{2}+2} ┃ 2\cos\frac{\pi}{8} ┃ \sqrt{2+\sqrt 2} ≠≠ \sqrt{2-\sqrt2} ┃ \sqrt{2}+\sqrt{2} ┃ 2+\sqrt2 ┃ \sqrt[4]{2}
\frac{-1+\sqrt{13}}{6} ⟹ \frac{\sqrt{13}-1}{6} ┃ -\frac{1-\sqrt{13}}{6} ┃ -\frac16+\frac{\sqrt{13}}{6} ┃ (\sqrt{13}-1)/6 ┃ \dfrac{-1 + \sqrt{13}}{6} ≠≠ \frac{1+\sqrt{13}}{6} ┃ \frac{-1-\sqrt{13}}{6} ┃ \frac{-1\pm\sqrt{13}}{6} ┃ -1+\frac{\sqrt{13}}{6} ┃ \sqrt{13}-\frac16
5\sqrt[3]{3} ⟹ \sqrt[3]{375} ┃ 5\cdot3^{1/3} ┃ 5 \sqrt[3]{3} ┃ 5\sqrt[3]3 ┃ 5\cdot\sqrt[3]{3} ≠≠ 5\sqrt{3} ┃ 3\sqrt[3]{5} ┃ 15 ┃ 5\sqrt[3]{9}
\frac{2\sqrt{5}}{5} ⟹ \frac{2}{\sqrt5} ┃ \frac{2}{5}\sqrt5 ┃ 0.4\sqrt{5} ┃ \sqrt{\frac45} ┃ 2\sqrt5/5 ┃ \sqrt{0.8} ≠≠ \frac{\sqrt5}{5} ┃ 2\sqrt5 ┃ \frac{5\sqrt2}{2} ┃ -\frac{2\sqrt5}{5}
4\sqrt{3}-6 ⟹ -6+4\sqrt3 ┃ 2(2\sqrt3-3) ┃ 4\sqrt 3 - 6 ┃ \sqrt{48}-6 ┃ -(6-4\sqrt3) ≠≠ 4\sqrt3+6 ┃ 6-4\sqrt3 ┃ 4\sqrt{3-6} ┃ 4\sqrt{3} ┃ -2\sqrt3
\frac{\sqrt[4]{8}}{2} ⟹ \frac{1}{\sqrt[4]{2}} ┃ 2^{-1/4} ┃ \frac{8^{1/4}}{2} ┃ \sqrt[4]{8}/2 ┃ \sqrt[4]{\frac12} ≠≠ \frac{\sqrt8}{2} ┃ \sqrt[4]{4} ┃ 2^{1/4} ┃ \frac{\sqrt[3]{8}}{2}
""",
    "mixed numbers": r"""
2\frac{3}{4} ⟹ 2 \frac{3}{4} ┃ \frac{11}{4} ┃ 2.75 ┃ 2\dfrac34 ┃ 2\ \frac{3}{4} ┃ 2\,\tfrac{3}{4} ┃ 2 3/4 ┃ 11/4 ┃ 2\text{ }\frac{3}{4} ≠≠ \frac{6}{4} ┃ \frac{3}{2} ┃ 23/4 ┃ 2\frac{1}{4} ┃ -2\frac34 ┃ 2
-4\frac{2}{3} ⟹ -\frac{14}{3} ┃ -4 2/3 ┃ -4 \tfrac23 ┃ -4.66666667 ┃ - 4\frac23 ┃ -\left(4\frac{2}{3}\right) ┃ -4.\overline{6} ≠≠ -\frac{10}{3} ┃ 4\frac23 ┃ -4\frac13 ┃ -\frac{8}{3} ┃ -4.6
33\frac{1}{3}\% ⟹ 33 \frac13 \% ┃ \frac{100}{3}\% ┃ 33\tfrac{1}{3}\% ┃ \frac13 ┃ 33.\overline{3}\% ┃ 33\frac13 ┃ 33.3333333\% ≠≠ 33\% ┃ 33\frac23\% ┃ 3\frac13\% ┃ \frac{1}{3}\%
""",
    "percentages": r"""
12.5\% ⟹ 12.5% ┃ 12.5 \% ┃ \frac{1}{8} ┃ 0.125 ┃ 12.5\text{ percent} ┃ 12\frac12\% ┃ 12.5 percent ┃ \frac{25}{2}\% ┃ 12.50\% ┃ 12.5 ≠≠ 12\% ┃ 1.25\% ┃ 125\% ┃ -12.5\% ┃ 0.0125 ┃ 12.5x
100\% ⟹ 100% ┃ 100 ┃ 1 ┃ 100 percent ┃ 100\text{%} ≠≠ 10\% ┃ 1\% ┃ 1000\%
20\% ⟹ 20 ┃ 20\text{%} ┃ \frac15 ┃ 0.2 ┃ 20 \% ┃ 20\text{ percent} ┃ 20\ \% ≠≠ 2\% ┃ 0.02 ┃ 80\% ┃ -20\% ┃ 200\%
""",
    "angles": r"""
60^\circ ⟹ 60^{\circ} ┃ 60 ┃ 60° ┃ 60\text{ degrees} ┃ 60 degrees ┃ 60^{\text{o}} ┃ 60\degree ┃ 60^\circ. ┃ 60\,^\circ ┃ {60}^{\circ} ┃ \angle ABC = 60^\circ ┃ 60 ^ \circ ┃ 60\text{°} ≠≠ 30^\circ ┃ -60^\circ ┃ 60^\circ C ┃ 60\% ┃ 60\text{ cm} ┃ 120^\circ ┃ 60\pi
\frac{\pi}{3} ⟹ \pi/3 ┃ \frac{1}{3}\pi ┃ \frac{\pi}{3}\text{ rad} ┃ \dfrac{\pi}{3}\text{ radians} ┃ \frac{2\pi}{6} ┃ 1.0471975512 ┃ \frac13\cdot\pi ┃ π/3 ≠≠ \frac{\pi}{6} ┃ \frac{3}{\pi} ┃ \frac13 ┃ -\frac{\pi}{3} ┃ \frac{2\pi}{3} ┃ 1.05
AB = 5 ⟹ 5 ┃ AB=5 ┃ \overline{AB}=5 ┃ |AB|=5 ┃ AB = 5\text{ cm} ≠≠ AC=6 ┃ AB=6 ┃ 5AB ┃ AB
\angle A = 40^\circ ⟹ 40^\circ ┃ 40 ┃ \angle A=40 ┃ 40\text{ degrees} ┃ m\angle A=40^\circ ≠≠ \angle A=50^\circ ┃ 140^\circ ┃ 40\text{ rad} ┃ -40
135^\circ ⟹ 135 ┃ 135^{\circ} ┃ \theta=135^\circ ┃ 135\text{ degrees} ┃ 135° ┃ \angle PQR=135^{\circ} ┃ 135^\circ\text{.} ┃ 135 ^\circ ≠≠ 45^\circ ┃ 153^\circ ┃ 135\text{ rad} ┃ -135^\circ ┃ 135^2
""",
    "thousands": r"""
1{,}234{,}567 ⟹ 1234567 ┃ 1,234,567 ┃ 1\,234\,567 ┃ 1 234 567 ┃ 1,\!234,\!567 ┃ 1{,}234{,}567.0 ┃ 1~234~567 ┃ 1\ 234\ 567 ┃ \$1,234,567 ┃ \text{1,234,567} ┃ 1.234567\times10^6 ┃ 1'234'567 ≠≠ 1234568 ┃ 1,234 ┃ 567 ┃ 123,4567 ┃ 12345670 ┃ -1,234,567
10,000 ⟹ 10000 ┃ 10{,}000 ┃ 10^4 ┃ 10\,000 ┃ 10,\!000 ┃ 10 000 ┃ 1\times 10^4 ┃ 10000.00 ┃ 1e4 ┃ \$10,000 ≠≠ 10 ┃ 1000 ┃ 100000 ┃ 10,00 ┃ 10.000x ┃ 10^5
12345678 ⟹ 12,345,678 ┃ 12\,345\,678 ┃ 12{,}345{,}678 ┃ 12 345 678 ┃ 12.345678\times10^6 ┃ 1.2345678\cdot 10^{7} ┃ 1.2345678\times 10^7 ≠≠ 12345679 ┃ 1234567 ┃ 12,345 ┃ 12.345678
""",
    "decimals": r"""
0.12 ⟹ .12 ┃ 0.120 ┃ \frac{3}{25} ┃ 12\% ┃ 0,12 ┃ \frac{12}{100} ┃ 1.2\times 10^{-1} ┃ +0.12 ┃ 00.12 ≠≠ 0.13 ┃ 0.012 ┃ 1.2 ┃ -0.12 ┃ 12 ┃ 0.1 ┃ 0.1200001
0.\overline{123} ⟹ 0.\overline{123} ┃ \frac{123}{999} ┃ \frac{41}{333} ┃ 0.123123123123\ldots ┃ 0.123123123 ≠≠ 0.123 ┃ 0.\overline{132} ┃ 0.1\overline{23} ┃ \frac{123}{1000}
0.1\overline{6} ⟹ \frac16 ┃ 0.1\bar6 ┃ 0.1\dot{6} ┃ 0.1666666667 ┃ 0.1\bar{6} ≠≠ 0.\overline{16} ┃ 0.16 ┃ 0.17 ┃ \frac{16}{99}
-0.5 ⟹ -.5 ┃ -\frac12 ┃ -0.50 ┃ -1/2 ┃ \frac{-1}{2} ┃ - 0.5 ┃ −0.5 ┃ -5\times10^{-1} ┃ -0,5 ┃ -50\% ≠≠ 0.5 ┃ -5 ┃ -0.05 ┃ -0.51
1.\overline{27} ⟹ \frac{14}{11} ┃ 1\frac{3}{11} ┃ 1.272727\ldots ┃ 1.27272727... ┃ 1.\overline{27} ┃ 1.2727272727 ≠≠ 1.27 ┃ 1.2\overline{7} ┃ \frac{127}{100} ┃ \frac{11}{14}
2.5\times 10^{-4} ⟹ 0.00025 ┃ 2.5\cdot10^{-4} ┃ 2.5e-4 ┃ 2.5 \times 10^{ -4 } ┃ 25\times10^{-5} ┃ \frac{1}{4000} ┃ 2.5*10^-4 ≠≠ 2.5\times10^4 ┃ 2.5\times10^{-5} ┃ 0.0025 ┃ 25\times10^{-4} ┃ -0.00025
0.1 ⟹ .1 ┃ \frac{1}{10} ┃ 10^{-1} ┃ 1e-1 ┃ 0.10000 ┃ 10\% ┃ 0,1 ≠≠ 0.01 ┃ 1 ┃ 0.11 ┃ -0.1 ┃ 0.1i
1.5e-07 ⟹ 1.5\times10^{-7} ┃ 0.00000015 ┃ 1.5\cdot 10^{-7} ┃ 1.5E-7 ┃ 15\times10^{-8} ≠≠ 1.5\times10^{-6} ┃ 1.4e-7 ┃ 0 ┃ 1.5
123456.789 ⟹ 123,456.789 ┃ 123456.7890 ┃ 123 456.789 ┃ 1.23456789\times10^5 ┃ 123{,}456.789 ≠≠ 123456.79 ┃ 123456 ┃ 123,456.798 ┃ 12345.6789
""",
    "plus-minus": r"""
\pm 3 ⟹ 3, -3 ┃ -3, 3 ┃ \{-3, 3\} ┃ x=\pm3 ┃ 3 \text{ or } -3 ┃ \pm\sqrt{9} ┃ ±3 ┃ +3,-3 ┃ x = 3, x = -3 ┃ x=3\text{ or }x=-3 ≠≠ 3 ┃ -3 ┃ \pm 2 ┃ \mp 3i ┃ 3, 3 ┃ 0\pm 4
2 \pm \sqrt{5} ⟹ 2+\sqrt5, 2-\sqrt5 ┃ \{2-\sqrt{5},2+\sqrt{5}\} ┃ 2-\sqrt{5}\text{ and }2+\sqrt{5} ┃ x = 2 \pm \sqrt{5} ┃ \frac{4\pm2\sqrt5}{2} ┃ \frac{4\pm\sqrt{20}}{2} ┃ 2\pm\sqrt5 ┃ 2 \mp \sqrt{5} ┃ x=2+\sqrt5 \text{ or } x=2-\sqrt5 ≠≠ 2+\sqrt5 ┃ -2\pm\sqrt5 ┃ 2\pm\sqrt3 ┃ \pm2+\sqrt5 ┃ 2\pm5 ┃ \pm\sqrt5
\frac{1 \pm \sqrt{5}}{2} ⟹ \frac{1+\sqrt5}{2}, \frac{1-\sqrt5}{2} ┃ \frac12\pm\frac{\sqrt5}{2} ┃ (1\pm\sqrt5)/2 ┃ \left\{\frac{1-\sqrt{5}}{2}, \frac{1+\sqrt{5}}{2}\right\} ≠≠ \frac{1+\sqrt5}{2} ┃ \frac{-1\pm\sqrt5}{2} ┃ 1\pm\sqrt5
""",
    "complex numbers": r"""
3-4i ⟹ -4i+3 ┃ 3 - 4 i ┃ 3-4\cdot i ┃ 3 - 4\mathrm{i} ┃ 3+(-4)i ┃ z=3-4i ┃ (2-i)^2 ┃ 3-4\,i ≠≠ 3+4i ┃ -3+4i ┃ 4-3i ┃ 3-4 ┃ 3-4j ┃ 3 ┃ 5 ┃ 3-4x
\frac{1}{2}+\frac{\sqrt{3}}{2}i ⟹ \frac{1+\sqrt3 i}{2} ┃ \frac{1+i\sqrt{3}}{2} ┃ \frac12 + \frac{i\sqrt3}{2} ┃ e^{i\pi/3} ┃ e^{\frac{\pi i}{3}} ┃ \cos\frac{\pi}{3}+i\sin\frac{\pi}{3} ┃ 0.5+\frac{\sqrt3}{2}i ≠≠ \frac12-\frac{\sqrt3}{2}i ┃ \frac{1}{2}+\frac{\sqrt3}{2} ┃ e^{i\pi/6} ┃ \frac{\sqrt3}{2}+\frac12 i
-i ⟹ 0-i ┃ -1i ┃ \frac{1}{i} ┃ -\sqrt{-1} ┃ i^3 ┃ - i ≠≠ i ┃ 1 ┃ -1 ┃ -j ┃ 0
2i ⟹ 2 i ┃ 2\cdot i ┃ 0+2i ┃ i\cdot 2 ┃ (1+i)^2 ┃ \sqrt{-4} ┃ 2\mathrm{i} ≠≠ -2i ┃ 2 ┃ 2j ┃ i^2 ┃ \pm2i ┃ 2x ┃ i
-1+i, -1-i ⟹ -1\pm i ┃ -1-i,-1+i ┃ \{-1+i,-1-i\} ┃ x=-1\pm i ┃ -1 + i \text{ and } -1 - i ┃ -1+1i,-1-1i ┃ i-1,-i-1 ≠≠ 1\pm i ┃ -1\pm2i ┃ -1+i ┃ -1+i,1-i ┃ \pm i
1 + 2i\sqrt{2} ⟹ 1+2\sqrt2 i ┃ 1+2\sqrt{2}i ┃ 2\sqrt2i+1 ┃ 1+i\sqrt8 ┃ 1 + 2 \sqrt{2} \, i ≠≠ 1-2i\sqrt2 ┃ 1+2\sqrt2 ┃ 1+\sqrt2 i ┃ 2+i\sqrt2
""",
    "polynomials": r"""
x^2-5x+6 ⟹ (x-2)(x-3) ┃ (x-3)(x-2) ┃ 6-5x+x^2 ┃ x^{2}-5x+6 ┃ x^2 - 5 x + 6 ┃ x^2-5\cdot x+6 ┃ x*x-5*x+6 ┃ x**2-5*x+6 ┃ \left(x-2\right)\left(x-3\right) ┃ (x-2)\cdot(x-3) ┃ (2-x)(3-x) ┃ x(x-5)+6 ┃ x^2+6-5x ≠≠ x^2+5x+6 ┃ x^2-5x-6 ┃ (x+2)(x+3) ┃ y^2-5y+6 ┃ x^2-5x+6=0 ┃ x^2-5x ┃ 2,3 ┃ x^3-5x+6
x^{10}+1 ⟹ 1+x^{10} ┃ x^10+1 ≠≠ x^{10}-1 ┃ x^1 0+1 ┃ x+1 ┃ 10x+1 ┃ x^{11}+1 ┃ x^{10}
\frac{x+1}{x-1} ⟹ \frac{1+x}{x-1} ┃ (x+1)/(x-1) ┃ 1+\frac{2}{x-1} ┃ \frac{-x-1}{1-x} ┃ -\frac{x+1}{1-x} ┃ \frac{(x+1)^2}{x^2-1} ≠≠ \frac{x-1}{x+1} ┃ x+1/x-1 ┃ \frac{x+1}{x}-1 ┃ \frac{y+1}{y-1}
3x^2y - 2xy^2 ⟹ xy(3x-2y) ┃ -2xy^2+3x^2y ┃ 3yx^2-2y^2x ┃ 3x^{2}y-2xy^{2} ≠≠ 3xy^2-2x^2y ┃ 3x^2y+2xy^2 ┃ xy(3x+2y) ┃ x^2y^2
2(x-3)(x+3) ⟹ 2x^2-18 ┃ 2(x^2-9) ┃ 2(x+3)(x-3) ┃ (2x-6)(x+3) ≠≠ 2(x-3)^2 ┃ (x-3)(x+3) ┃ 2x^2-9 ┃ 2x^2+18
(x+y)^3 ⟹ x^3+3x^2y+3xy^2+y^3 ┃ (y+x)^3 ┃ (x+y)(x+y)^2 ┃ (x+y)(x^2+2xy+y^2) ≠≠ x^3+y^3 ┃ (x-y)^3 ┃ (x+y)^2 ┃ x^3+3x^2y+3xy^2-y^3
2x^3 - x + 7 ⟹ 7-x+2x^3 ┃ 2x^{3}-x+7 ┃ x(2x^2-1)+7 ┃ 2x³-x+7 ┃ 2*x^3-x+7 ┃ -x+7+2x^3 ≠≠ 2x^3+x+7 ┃ 2x^3-x-7 ┃ 2x^3-x ┃ 2x^2-x+7 ┃ 3x^2-x+7
4(a-2b)(a+2b) ⟹ 4a^2-16b^2 ┃ 4(a+2b)(a-2b) ┃ (2a-4b)(2a+4b) ┃ 4(a^2-4b^2) ≠≠ 4(a-2b)^2 ┃ 4a^2-4b^2 ┃ 4(b-2a)(b+2a)
-6t^2+12 ⟹ 12-6t^2 ┃ 6(2-t^2) ┃ -6(t^2-2) ┃ 6\left(2-t^{2}\right) ≠≠ 6t^2-12 ┃ -6t^2-12 ┃ -6x^2+12 ┃ -6t+12
x^4+4 ⟹ (x^2+2x+2)(x^2-2x+2) ┃ 4+x^4 ┃ x^{4}+4 ≠≠ x^4-4 ┃ (x^2+2)^2 ┃ x^4+4x ┃ 4x^4+4 ┃ x^4
-\frac{1}{2}x^2+3x-\frac{5}{2} ⟹ -\frac12(x-1)(x-5) ┃ \frac{-x^2+6x-5}{2} ┃ 3x-\frac{x^2}{2}-\frac52 ┃ -0.5x^2+3x-2.5 ≠≠ \frac12x^2+3x-\frac52 ┃ -\frac12x^2-3x-\frac52 ┃ -\frac{1}{2}x^2+3x+\frac52
\frac{3x+2}{x(x+1)} ⟹ \frac{2}{x}+\frac{1}{x+1} ┃ \frac{3x+2}{x^2+x} ┃ \frac{2+3x}{x(1+x)} ≠≠ \frac{3x+2}{x+1} ┃ \frac{2}{x}-\frac{1}{x+1} ┃ \frac{3x-2}{x(x+1)}
\sqrt{x^2+1} ⟹ (x^2+1)^{1/2} ┃ \sqrt{1+x^2} ┃ (1+x^2)^{\frac{1}{2}} ┃ \left(x^2+1\right)^{0.5} ≠≠ x+1 ┃ \sqrt{x^2-1} ┃ \sqrt{x+1} ┃ \sqrt{y^2+1} ┃ \sqrt{x^2}+1
\frac{-b\pm\sqrt{b^2-4ac}}{2a} ⟹ \frac{-b \pm \sqrt{b^2 - 4ac}}{2a} ┃ x=\frac{-b\pm\sqrt{b^2-4ac}}{2a} ┃ \dfrac{-b\pm\sqrt{b^{2}-4ac}}{2a} ≠≠ \frac{b\pm\sqrt{b^2-4ac}}{2a} ┃ \frac{-b\pm\sqrt{b^2+4ac}}{2a} ┃ \frac{-b+\sqrt{b^2-4ac}}{2a}
\frac{abc}{4R} ⟹ \frac{abc}{4R} ┃ \frac{a b c}{4 R} ┃ \frac{a\cdot b\cdot c}{4R} ┃ abc/(4R) ┃ S=\frac{abc}{4R} ≠≠ \frac{abc}{4r} ┃ \frac{abc}{2R} ┃ \frac{ab}{4R} ┃ \frac{4R}{abc} ┃ \frac{a+b+c}{4R}
""",
    "functions of numbers": r"""
2\sin x\cos x ⟹ \sin 2x ┃ \sin(2x) ┃ 2 \cos x \sin x ┃ 2\sin(x)\cos(x) ┃ \sin{2x} ┃ 2\sin{x}\cos{x} ≠≠ \sin x ┃ \cos 2x ┃ 2\sin 2x ┃ \sin x\cos x ┃ 2\sin y\cos y
\tan x ⟹ \frac{\sin x}{\cos x} ┃ \tan(x) ┃ \tan{x} ┃ \frac{1}{\cot x} ≠≠ \cot x ┃ \tan y ┃ \tan 2x ┃ \tan^2 x
\frac{\sqrt{3}}{2} ⟹ \sin 60^\circ ┃ \cos 30^\circ ┃ \sin\frac{\pi}{3} ┃ \frac12\sqrt3 ┃ \sqrt{\frac34} ┃ \sqrt{3}/2 ┃ \frac{3}{2\sqrt3} ┃ 0.866025404 ┃ \sqrt{0.75} ≠≠ \frac{\sqrt2}{2} ┃ \frac{3}{2} ┃ \sin 30^\circ ┃ -\frac{\sqrt3}{2} ┃ 0.87 ┃ \sqrt{\frac32}
\arctan\frac{1}{2} ⟹ \tan^{-1}\frac12 ┃ \arctan(1/2) ┃ \arctan 0.5 ┃ \tan^{-1}(0.5) ┃ \arctan\left(\frac{1}{2}\right) ≠≠ \arctan 2 ┃ \arcsin\frac12 ┃ \frac12 ┃ \tan\frac12
\log_2 3 ⟹ \log_{2}3 ┃ \log_2(3) ┃ \frac{\ln 3}{\ln 2} ┃ \log_{2}{3} ┃ \frac{\log 3}{\log 2} ┃ \frac{1}{\log_3 2} ≠≠ \log_3 2 ┃ \log_2 4 ┃ \ln 3 ┃ \log 3 ┃ 3 ┃ \log_2 9
\ln 2 ⟹ \ln(2) ┃ \ln{2} ┃ \log_e 2 ┃ -\ln\frac12 ┃ \frac{\ln 4}{2} ┃ \frac12\ln4 ┃ 0.69314718056 ≠≠ \ln 3 ┃ -\ln 2 ┃ \log_{10}2 ┃ 2 ┃ 0.69 ┃ \ln\frac12
|x-3| ⟹ \left|x-3\right| ┃ |3-x| ┃ \lvert x-3\rvert ┃ \vert x - 3 \vert ┃ \left\lvert x-3\right\rvert ┃ \sqrt{(x-3)^2} ≠≠ x-3 ┃ |x+3| ┃ |x|-3 ┃ 3
\lfloor x \rfloor ⟹ \left\lfloor x \right\rfloor ┃ \lfloor x\rfloor ┃ \lfloor{x}\rfloor ≠≠ \lceil x \rceil ┃ x ┃ \lfloor y \rfloor
\cos^2\theta ⟹ 1-\sin^2\theta ┃ (\cos\theta)^2 ┃ \cos^2(\theta) ┃ \cos^{2}{\theta} ┃ \frac{1+\cos2\theta}{2} ┃ \frac{1}{\sec^2\theta} ┃ \cos^2 θ ≠≠ \cos\theta^2 ┃ \sin^2\theta ┃ \cos\theta ┃ \cos2\theta ┃ \cos^2\alpha
\frac{3}{5} ⟹ 0.6 ┃ \sin\theta=\frac35 ┃ \cos A = \frac{3}{5} ┃ 60\% ┃ \tan B = 3/5 ≠≠ \frac45 ┃ -\frac35 ┃ \frac53
\frac{\ln 5}{\ln 3} ⟹ \log_3 5 ┃ \log_{3}(5) ┃ \frac{\log 5}{\log 3} ┃ \frac{\log_{10}5}{\log_{10}3} ┃ x=\log_3 5 ≠≠ \log_5 3 ┃ \ln\frac53 ┃ \frac{\ln3}{\ln5} ┃ \ln5-\ln3
\log x + \log y ⟹ \log y+\log x ┃ \log{x}+\log{y} ≠≠ \log x-\log y ┃ \log(x+y) ┃ \log x\log y
""",
    "powers": r"""
e^{-2x} ⟹ \frac{1}{e^{2x}} ┃ \exp(-2x) ┃ e^{-2 x} ┃ (e^{-x})^2 ┃ \mathrm{e}^{-2x} ≠≠ e^{2x} ┃ e^{-2} ┃ -e^{2x} ┃ e^{-2y} ┃ e^{-x}
2^{10} ⟹ 1024 ┃ 2^{10} ┃ 2^10 ┃ 4^5 ┃ 32^2 ≠≠ 2^{11} ┃ 2^1 0 ┃ 20 ┃ 10^2 ┃ 1042
\binom{10}{3} ⟹ \binom{10}{3} ┃ 120 ┃ \dbinom{10}{3} ┃ {10 \choose 3} ┃ \binom{10}{7} ┃ \tbinom{10}{3} ┃ \frac{10!}{3!7!} ≠≠ \binom{10}{4} ┃ \frac{10}{3} ┃ \binom{3}{10} ┃ 720 ┃ \binom{9}{3}
5! ⟹ 120 ┃ 5! ┃ 5 \cdot 4! ┃ 5! = 120 ≠≠ 5 ┃ 6! ┃ 24
2^3\cdot 3^2 ⟹ 72 ┃ 2^3 \times 3^2 ┃ 3^2\cdot2^3 ┃ 8\cdot9 ┃ 2^{3}\cdot3^{2} ┃ 2^3*3^2 ┃ 2^3(3^2) ≠≠ 2^2\cdot3^3 ┃ 2^3+3^2 ┃ 36 ┃ 2^3 3^3
6.02\times10^{23} ⟹ 6.02\cdot10^{23} ┃ 6.02*10^{23} ┃ 6.02e23 ┃ 6.02 \times 10^23 ┃ 602\times10^{21} ┃ 6.02×10²³ ┃ 6.02 x 10^{23} ┃ 6.02\text{E}23 ┃ 6.02\ \times\ 10^{23} ≠≠ 6.02\times10^{22} ┃ 6.02\times10^{-23} ┃ 6.03\times10^{23} ┃ 6.02 ┃ 6.02+10^{23}
Ce^{3x} ⟹ C e^{3x} ┃ C\cdot e^{3x} ┃ y=Ce^{3x} ┃ e^{3x}C ┃ C\exp(3x) ≠≠ Ce^{-3x} ┃ e^{3x} ┃ Ce^{3} ┃ Ce^{2x}
2^{n+1}-1 ⟹ 2\cdot2^n-1 ┃ 2^{1+n}-1 ┃ -1+2^{n+1} ≠≠ 2^n-1 ┃ 2^{n+1}+1 ┃ 2^{n}+1 ┃ 2^{n+1-1}
\frac{1}{2^{n}} ⟹ 2^{-n} ┃ \left(\frac12\right)^n ┃ (1/2)^n ┃ 0.5^n ┃ \frac{1}{2^n} ≠≠ 2^n ┃ \frac{1}{2n} ┃ \left(\frac12\right)^{n+1} ┃ -2^n
2^{2006} ⟹ 2^{2006} ┃ 4^{1003} ┃ 2^{2005}\cdot2 ≠≠ 2^{2005} ┃ 2^{2007} ┃ 2006^2 ┃ 4^{2006}
\frac{2^{100}-1}{3} ⟹ \frac{2^{100}-1}{3} ┃ \frac13(2^{100}-1) ┃ (2^{100}-1)/3 ┃ \frac{4^{50}-1}{3} ≠≠ \frac{2^{100}+1}{3} ┃ \frac{2^{99}-1}{3} ┃ 2^{100}-1
\frac{100!}{50!} ⟹ \frac{100!}{50!} ┃ 100!/50! ≠≠ \frac{100!}{51!} ┃ 2 ┃ 50!
6.63\times 10^{-34}\text{ J}\cdot\text{s} ⟹ 6.63\times10^{-34} ┃ 6.63\cdot 10^{-34}\text{ J s} ┃ 6.63e-34 ┃ 6.63\times10^{-34}\,\mathrm{J\cdot s} ≠≠ 6.62\times10^{-34} ┃ 6.63\times10^{-33} ┃ 0 ┃ 1.6\times10^{-19} ┃ 6.63\times10^{34}
\frac{1}{2^{100}} ⟹ 2^{-100} ┃ \left(\frac{1}{2}\right)^{100} ┃ 0.5^{100} ≠≠ \frac{1}{2^{99}} ┃ 0 ┃ \frac{1}{2^{101}} ┃ 2^{100} ┃ 10^{-30}
""",
    "sums": r"""
1+2+\ldots+n ⟹ 1+2+\cdots+n ┃ 1+2+\dots+n ┃ 1 + 2 + … + n ≠≠ 1+2+\ldots+m ┃ 1+2+n ┃ 1+2
\int_0^1 x^2 dx ⟹ \int_0^1 x^2\,dx ┃ \frac13 ┃ \int_{0}^{1}x^{2}\,\mathrm{d}x ≠≠ \int_0^1 x^3 dx ┃ \int_0^2 x^2 dx ┃ x^2 ┃ 1
\sum_{k=1}^{n} k ⟹ \sum_{k=1}^n k ┃ \frac{n(n+1)}{2} ┃ \sum\limits_{k=1}^{n}k ≠≠ \sum_{k=1}^{n} k^2 ┃ \sum_{k=0}^{n}k^2 ┃ n ┃ \frac{n(n-1)}{2}
1, 2, 4, 8, \ldots ⟹ 1,2,4,8,\dots ┃ 1,2,4,8,\cdots ┃ 1, 2, 4, 8, ... ≠≠ 1,2,4,9,\ldots ┃ 1,2,4,8
""",
    "matrices": r"""
\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix} ⟹ \begin{bmatrix}1&2\\3&4\end{bmatrix} ┃ \left(\begin{array}{cc}1&2\\3&4\end{array}\right) ┃ \left[\begin{array}{rr} 1 & 2 \\ 3 & 4 \end{array}\right] ┃ \begin{pmatrix}1&2\\3&4\\\end{pmatrix} ┃ \begin{pmatrix}1&2\cr3&4\end{pmatrix} ┃ A=\begin{pmatrix}1&2\\3&4\end{pmatrix} ┃ \begin{Bmatrix}1&2\\3&4\end{Bmatrix} ┃ \begin{pmatrix}1&\frac42\\3&4\end{pmatrix} ┃ \begin{pmatrix}1.0&2\\3&4\end{pmatrix} ┃ \begin{pmatrix} 1 & 2 \\[2pt] 3 & 4 \end{pmatrix} ┃ \begin{smallmatrix}1&2\\3&4\end{smallmatrix} ≠≠ \begin{pmatrix}1&3\\2&4\end{pmatrix} ┃ \begin{pmatrix}1&2\\3&-4\end{pmatrix} ┃ \begin{pmatrix}1&2\end{pmatrix} ┃ \begin{pmatrix}1&2&3&4\end{pmatrix} ┃ -2 ┃ \begin{pmatrix}1\\2\\3\\4\end{pmatrix} ┃ (1,2,3,4) ┃ \begin{vmatrix}1&2\\3&4\end{vmatrix}
\begin{pmatrix} 1 \\ -2 \\ 3 \end{pmatrix} ⟹ \begin{bmatrix}1\\-2\\3\end{bmatrix} ┃ \left(\begin{array}{c}1\\-2\\3\end{array}\right) ┃ \left(\begin{matrix}1\\-2\\3\end{matrix}\right) ┃ \begin{pmatrix}1\\-2\\3\end{pmatrix}. ≠≠ \begin{pmatrix}1\\2\\3\end{pmatrix} ┃ \begin{pmatrix}-2\\1\\3\end{pmatrix} ┃ \begin{pmatrix}1\\-2\end{pmatrix} ┃ \begin{pmatrix}1\\-2\\3\\0\end{pmatrix}
\langle 1, 2, -1 \rangle ⟹ \left\langle 1,2,-1\right\rangle ┃ (1,2,-1) ┃ \langle1,2,-1\rangle ≠≠ \langle 1,2,1\rangle ┃ \langle 2,1,-1\rangle ┃ \langle 1,2\rangle
\begin{vmatrix}1&2\\3&4\end{vmatrix} ⟹ \begin{vmatrix} 1 & 2 \\ 3 & 4 \end{vmatrix} ┃ -2 ≠≠ 2 ┃ \begin{vmatrix}1&2\\3&5\end{vmatrix}
\begin{pmatrix} \frac{1}{2} & -\frac{\sqrt{3}}{2} \\ \frac{\sqrt{3}}{2} & \frac{1}{2} \end{pmatrix} ⟹ \begin{bmatrix}1/2&-\sqrt3/2\\\sqrt3/2&1/2\end{bmatrix} ┃ \begin{pmatrix}0.5&-\frac{\sqrt3}{2}\\\frac{\sqrt3}{2}&0.5\end{pmatrix} ┃ \frac12\begin{pmatrix}1&-\sqrt3\\\sqrt3&1\end{pmatrix} ┃ \begin{pmatrix} \dfrac{1}{2} & -\dfrac{\sqrt{3}}{2} \\ \dfrac{\sqrt{3}}{2} & \dfrac{1}{2} \end{pmatrix} ≠≠ \begin{pmatrix}1/2&\sqrt3/2\\-\sqrt3/2&1/2\end{pmatrix} ┃ \begin{pmatrix}1&-\sqrt3\\\sqrt3&1\end{pmatrix}
\begin{pmatrix} x & y \\ 0 & x+y \end{pmatrix} ⟹ \begin{pmatrix}x&y\\0&y+x\end{pmatrix} ┃ \begin{bmatrix} x & y \\ 0 & x+y \end{bmatrix} ≠≠ \begin{pmatrix}x&y\\0&x-y\end{pmatrix} ┃ \begin{pmatrix}y&x\\0&x+y\end{pmatrix}
\begin{bmatrix} 1 & 0 & 0 \\ 0 & 1 & 0 \\ 0 & 0 & 1 \end{bmatrix} ⟹ \begin{pmatrix}1&0&0\\0&1&0\\0&0&1\end{pmatrix} ┃ I=\begin{pmatrix}1&0&0\\0&1&0\\0&0&1\end{pmatrix} ≠≠ \begin{pmatrix}1&0\\0&1\end{pmatrix} ┃ 1 ┃ I
\begin{pmatrix}1\\2\end{pmatrix} ⟹ \left[\begin{matrix}1\\2\end{matrix}\right] ┃ \begin{bmatrix} 1 \\ 2 \end{bmatrix} ┃ \begin{array}{c}1\\2\end{array} ┃ \mathbf{v} = \begin{pmatrix}1\\2\end{pmatrix} ┃ \begin{pmatrix}1\\[4pt]2\end{pmatrix} ┃ \begin{pmatrix}1\\2\\\end{pmatrix} ≠≠ \begin{pmatrix}2\\1\end{pmatrix} ┃ \begin{pmatrix}1&2\end{pmatrix} ┃ \frac12 ┃ 3 ┃ 12
3\mathbf{i}-2\mathbf{j} ⟹ 3\mathbf{i} - 2\mathbf{j} ┃ -2\mathbf{j}+3\mathbf{i} ┃ 3\mathbf i-2\mathbf j ≠≠ 3\mathbf{i}+2\mathbf{j} ┃ 2\mathbf{i}-3\mathbf{j} ┃ 3\mathbf{i}
\begin{pmatrix} 0 & 1 \\ -1 & 0 \end{pmatrix} ⟹ \begin{bmatrix}0&1\\-1&0\end{bmatrix} ┃ \left(\begin{matrix}0&1\\-1&0\end{matrix}\right) ┃ \left[\begin{array}{cc}0&1\\-1&0\end{array}\right] ┃ \begin{pmatrix}0&1\\ -1&0\\ \end{pmatrix} ┃ A^{-1}=\begin{pmatrix}0&1\\-1&0\end{pmatrix} ┃ \begin{pmatrix} 0 & 1 \\-1 & 0 \end{pmatrix} ┃ \left( \begin{array}{rr} 0 & 1 \\ -1 & 0 \end{array} \right) ┃ \mathbf{A}=\begin{pmatrix}0&1\\-1&0\end{pmatrix} ┃ \begin{pmatrix}0 & 1 \\\\ -1 & 0\end{pmatrix} ≠≠ \begin{pmatrix}0&-1\\1&0\end{pmatrix} ┃ \begin{pmatrix}0&1\\1&0\end{pmatrix} ┃ \begin{pmatrix}1&0\\0&-1\end{pmatrix} ┃ \begin{pmatrix}0&1\end{pmatrix} ┃ 1
\begin{pmatrix} -1 & 3 & 2 \end{pmatrix} ⟹ \begin{bmatrix}-1&3&2\end{bmatrix} ┃ \left(\begin{array}{ccc}-1&3&2\end{array}\right) ≠≠ \begin{pmatrix}-1\\3\\2\end{pmatrix} ┃ \begin{pmatrix}1&3&2\end{pmatrix} ┃ \begin{pmatrix}-1&2&3\end{pmatrix}
\begin{pmatrix} 2 & 0 \\ 0 & 3 \end{pmatrix} ⟹ \begin{bmatrix} 2 & 0 \\ 0 & 3 \end{bmatrix} ┃ \begin{pmatrix}2&0\\0&3\end{pmatrix} ┃ \left[ \begin{matrix} 2 & 0 \\ 0 & 3 \end{matrix} \right] ┃ D=\begin{pmatrix}2&0\\0&3\end{pmatrix} ┃ \begin{pmatrix}2 & 0 \\ 0 & \frac{6}{2}\end{pmatrix} ┃ \\begin{pmatrix} 2 & 0 \\\\ 0 & 3 \\end{pmatrix} ┃ \begin{pmatrix}2&0\cr 0&3\cr\end{pmatrix} ≠≠ \begin{pmatrix}3&0\\0&2\end{pmatrix} ┃ \begin{pmatrix}2&0\\0&-3\end{pmatrix} ┃ \begin{pmatrix}2&0&0&3\end{pmatrix} ┃ 6 ┃ \begin{pmatrix}2\\3\end{pmatrix}
\begin{pmatrix} t \\ 2t+1 \end{pmatrix} ⟹ \begin{pmatrix}t\\1+2t\end{pmatrix} ┃ \begin{bmatrix}t\\2t+1\end{bmatrix} ┃ \begin{pmatrix}t\\2 t+1\end{pmatrix} ≠≠ \begin{pmatrix}t\\2t-1\end{pmatrix} ┃ \begin{pmatrix}2t+1\\t\end{pmatrix} ┃ \begin{pmatrix}s\\2s+2\end{pmatrix}
""",
    "intervals": r"""
(-\infty, 2) \cup (3, \infty) ⟹ (-\infty,2)\cup(3,+\infty) ┃ \left(-\infty,2\right)\cup\left(3,\infty\right) ┃ x\in(-\infty,2)\cup(3,\infty) ┃ (3,\infty)\cup(-\infty,2) ┃ x<2 \text{ or } x>3 ┃ (-∞,2)∪(3,∞) ┃ (-\infty, 2) \cup (3, \infty)  ≠≠ (-\infty,2]\cup(3,\infty) ┃ (-\infty,2)\cup[3,\infty) ┃ (-\infty,3)\cup(2,\infty) ┃ (2,3) ┃ (-\infty,2) ┃ (-\infty,2)\cap(3,\infty) ┃ x<2\text{ and }x>4 ┃ (-\infty,-2)\cup(3,\infty)
[-1, 3) ⟹ \left[-1,3\right) ┃ -1\le x<3 ┃ x\in[-1,3) ┃ -1 \leq x < 3 ┃ 3 > x \ge -1 ┃ [-1,3[ ┃ [ -1 , 3 ) ┃ -1\leqslant x<3 ┃ \{x \mid -1 \le x < 3\} ┃ x \ge -1 \text{ and } x < 3 ┃ \lbrack -1,3) ┃ [-1;3) ≠≠ (-1,3] ┃ [-1,3] ┃ (-1,3) ┃ [1,3) ┃ -1<x\le3 ┃ [-1,3 ┃ 3
(0, 1] ⟹ 0<x\le1 ┃ x\in(0,1] ┃ \left(0,1\right] ┃ ]0,1] ┃ 0 < x \leqslant 1 ┃ 1\ge x>0 ┃ \{x\in\mathbb{R}: 0<x\le1\} ┃ (0 , 1] ┃ (0,1.0] ≠≠ [0,1) ┃ (0,1) ┃ [0,1] ┃ (0,2] ┃ (-0.5,1] ┃ 0\le x<1 ┃ 1
[2, \infty) ⟹ x\ge2 ┃ x\in[2,\infty) ┃ [2,+\infty) ┃ 2\le x<\infty ┃ \left[2,\infty\right) ┃ \{x: x \ge 2\} ┃ [2,∞) ┃ x \geq 2 ┃ [2, \infty [ ≠≠ (2,\infty) ┃ [2,\infty] ┃ (-\infty,2] ┃ [-2,\infty) ┃ x\le2
(-\infty,-3]\cup[1,4) ⟹ x\le-3\text{ or }1\le x<4 ┃ [1,4)\cup(-\infty,-3] ┃ (-\infty,-3] \cup [1,4) ┃ x\in(-\infty,-3]\cup[1,4) ┃ \left(-\infty,-3\right]\cup\left[1,4\right) ≠≠ (-\infty,-3)\cup[1,4) ┃ (-\infty,-3]\cup[1,4] ┃ (-\infty,-3] ┃ [1,4) ┃ (-\infty,-3]\cup[1,5) ┃ (-\infty,3]\cup[1,4) ┃ (-\infty,-3],[2,4)
\left(-\frac{1}{2}, \frac{3}{4}\right) ⟹ (-0.5,0.75) ┃ (-1/2,3/4) ┃ -\frac12<x<\frac34 ┃ \left(-\tfrac12,\tfrac34\right) ≠≠ \left[-\frac12,\frac34\right] ┃ (\frac12,\frac34) ┃ (\frac34,-\frac12) ┃ (-\frac12,\frac43)
[-2, -1] \cup [1, 2] ⟹ [1,2]\cup[-2,-1] ┃ \left[-2,-1\right]\cup\left[1,2\right] ┃ x \in [-2,-1]\cup[1,2] ┃ -2\le x\le-1\text{ or }1\le x\le2 ┃ [-2,-1]∪[1,2] ≠≠ [-2,-1]\cup(1,2] ┃ [-2,2] ┃ [1,2] ┃ [-2,-1],[1,3] ┃ (-2,-1)\cup(1,2) ┃ [-2,1]\cup[-1,2]
(-1, \infty) ⟹ x>-1 ┃ (-1,+\infty) ┃ -1<x ┃ (-1,\infty) ┃ x\in\left(-1,\infty\right) ┃ x > -1.0 ┃ \{x \mid x>-1\} ≠≠ [-1,\infty) ┃ (1,\infty) ┃ (-\infty,-1) ┃ x<-1 ┃ (-1,1) ┃ (-1,0)
[0, 2\pi) ⟹ 0\le x<2\pi ┃ \left[0,2\pi\right) ┃ [0;2\pi) ┃ [0, 2 \pi) ≠≠ [0,2\pi] ┃ (0,2\pi) ┃ [0,\pi) ┃ [0,2)
a \in (-\infty, 1] ⟹ a\le1 ┃ (-\infty,1] ┃ a \in(-\infty,1] ┃ a\leq 1 ┃ 1\ge a ≠≠ a<1 ┃ a\ge1 ┃ b\le1 ┃ (-\infty,1) ┃ a=1 ┃ 1
""",
    "inequalities": r"""
x \geq 5 ⟹ x\ge5 ┃ x \geqslant 5 ┃ 5\le x ┃ [5,\infty) ┃ [5,+\infty) ┃ x >= 5 ┃ x\in[5,\infty) ┃ 5 \leq x ┃ x ≥ 5 ┃ \{x|x\ge5\} ┃ \{x : x \geq 5\} ≠≠ x>5 ┃ x\le5 ┃ x\ge6 ┃ 5 ┃ x=5 ┃ (5,\infty) ┃ y\ge5 ┃ x\ge -5
-3 < x < 4 ⟹ (-3,4) ┃ x\in(-3,4) ┃ 4>x>-3 ┃ -3<x<4 ┃ x > -3 \text{ and } x < 4 ┃ ]-3,4[ ≠≠ -3\le x<4 ┃ -3<x ┃ x<4 ┃ 3<x<4 ┃ -4<x<3 ┃ -3<y<4
a<b<c ⟹ a < b < c ┃ c>b>a ≠≠ a<c<b ┃ c<b<a ┃ a<b ┃ a\le b<c ┃ a>b>c
0 \le x \le \frac{\pi}{2} ⟹ \left[0,\frac{\pi}{2}\right] ┃ 0\leq x\leq\pi/2 ┃ x\in[0,\pi/2] ≠≠ 0<x<\frac{\pi}{2} ┃ 0\le x\le\pi ┃ [0,\frac{\pi}{2})
x \le -2 \text{ or } x \ge 2 ⟹ (-\infty,-2]\cup[2,\infty) ┃ x\geq2\text{ or }x\leq-2 ┃ |x|\ge2 ┃ x\in(-\infty,-2]\cup[2,\infty) ┃ x \le -2, x \ge 2 ┃ x \leq -2 \text{ or } 2 \leq x ≠≠ x<-2\text{ or }x>2 ┃ -2\le x\le2 ┃ x\ge2 ┃ x\le-2 ┃ x\le-2\text{ or }x\ge3
m < 1 ⟹ m<1 ┃ 1>m ┃ (-\infty,1) ┃ m\in(-\infty,1) ┃ m \lt 1 ┃ m < 1.0 ≠≠ m\le1 ┃ m>1 ┃ n<1 ┃ m<-1 ┃ 1
2x+3y \le 6 ⟹ 2x + 3y \leq 6 ┃ 3y+2x\le6 ┃ 6\ge2x+3y ┃ 4x+6y\le12 ┃ 2x+3y-6\le0 ≠≠ 2x+3y\ge6 ┃ 2x+3y<6 ┃ 2x+3y=6 ┃ 3x+2y\le6
k > \frac{9}{4} ⟹ k>9/4 ┃ k>2.25 ┃ \frac94<k ┃ \left(\frac94,\infty\right) ┃ k\in(2.25,\infty) ┃ 4k>9 ≠≠ k<\frac94 ┃ k\ge\frac94 ┃ k>\frac49 ┃ x>\frac94 ┃ k=\frac94 ┃ \frac94 ┃ -4k>-9
a \le b ⟹ b\ge a ┃ a\leq b ≠≠ a<b ┃ b\le a ┃ a\ge b ┃ a=b
x<0\text{ or }x>5 ⟹ x>5\text{ or }x<0 ┃ (-\infty,0)\cup(5,\infty) ┃ x < 0 \quad\text{or}\quad x > 5 ┃ x\in(-\infty,0)\cup(5,\infty) ┃ x<0, x>5 ┃ x<0\ \text{or}\ 5<x ≠≠ 0<x<5 ┃ x>5 ┃ x<0 ┃ x\le0\text{ or }x\ge5 ┃ x<5\text{ or }x>0 ┃ x<0\text{ or }x>6
""",
    "sets": r"""
\{1, 2, 3\} ⟹ \{3,2,1\} ┃ 1,2,3 ┃ \left\{1,2,3\right\} ┃ \lbrace 1,2,3\rbrace ┃ \{ 1 , 2 , 3 \} ┃ 1, 2, \text{ and } 3 ┃ x\in\{1,2,3\} ┃ A=\{1,2,3\} ┃ 1\text{, }2\text{, }3 ┃ \{1\}\cup\{2,3\} ≠≠ \{1,2\} ┃ \{1,2,4\} ┃ (1,3,2) ┃ \{1,2,3,4\} ┃ \{-1,2,3\} ┃ 123 ┃ 6 ┃ [1,3]
\emptyset ⟹ \varnothing ┃ \emptyset ┃ ∅ ┃ \{\} ┃ \text{}\emptyset ┃ \{ \} ┃ \left\{\right\} ┃ x \in \emptyset ≠≠ 0 ┃ \{0\} ┃ \infty ┃ 1
\infty ⟹ +\infty ┃ ∞ ┃ \infty ┃ \text{infinity} ┃ infinity ≠≠ -\infty ┃ 0 ┃ 8 ┃ \frac{1}{\infty}
-\infty ⟹ -∞ ┃ - \infty ┃ -\infty ┃ -\text{infinity} ≠≠ \infty ┃ +\infty
\mathbb{R} ⟹ \mathbb R ┃ \mathbb{R} ┃ (-\infty,\infty) ┃ \text{all real numbers} ┃ ℝ ┃ x\in\mathbb{R} ┃ (-\infty,+\infty) ≠≠ \mathbb{Z} ┃ \mathbb{R}^+ ┃ [0,\infty) ┃ R ┃ \mathbb{R}\setminus\{0\}
\mathbb{R}\setminus\{0\} ⟹ \mathbb{R} \setminus \{0\} ┃ \mathbb{R}\backslash\{0\} ┃ \mathbb{R}-\{0\} ┃ x\in\mathbb{R}\setminus\{0\} ┃ (-\infty,0)\cup(0,\infty) ┃ x\ne0 ┃ x \neq 0 ┃ \mathbb{R} \setminus \left\{0\right\} ≠≠ \mathbb{R} ┃ \mathbb{R}\setminus\{1\} ┃ (0,\infty) ┃ 0 ┃ x=0
x \ne 3 ⟹ x\neq3 ┃ x \neq 3 ┃ x != 3 ┃ x ≠ 3 ┃ (-\infty,3)\cup(3,\infty) ┃ 3 \ne x ┃ x\not=3 ≠≠ x=3 ┃ x\ne4 ┃ 3 ┃ y\ne3 ┃ x>3
\{x \mid x > 2\} ⟹ x>2 ┃ (2,\infty) ┃ \{x | x>2\} ┃ \{x: x>2\} ┃ \{ x \in \mathbb{R} \mid x > 2 \} ┃ \left\{x \,\middle|\, x>2\right\} ┃ x \in (2, \infty) ≠≠ x<2 ┃ x\ge2 ┃ \{x\mid x>3\} ┃ \{2\} ┃ 2
\{2k+1 \mid k \in \mathbb{Z}\} ⟹ \{2k+1 : k\in\mathbb{Z}\} ┃ \{2k + 1 \mid k \in \mathbb{Z}\} ┃ \{2k+1|k\in\mathbb Z\} ≠≠ \{2k \mid k\in\mathbb{Z}\} ┃ \{2k+1 \mid k\in\mathbb{N}\} ┃ \{2k-3\mid k\in\mathbb{N}\}
\frac{\pi}{4}+k\pi, k\in\mathbb{Z} ⟹ \frac{\pi}{4}+k\pi, k \in \mathbb{Z} ┃ k\pi+\frac{\pi}{4}, k\in\mathbb{Z} ┃ x=\frac{\pi}{4}+k\pi, k\in\mathbb{Z} ≠≠ \frac{\pi}{4}+2k\pi, k\in\mathbb{Z} ┃ \frac{\pi}{4} ┃ \frac{\pi}{3}+k\pi,k\in\mathbb{Z}
\{(0,1),(1,0)\} ⟹ (0,1),(1,0) ┃ \{(1,0),(0,1)\} ┃ (0,1)\text{ and }(1,0) ┃ \left\{\left(0,1\right),\left(1,0\right)\right\} ≠≠ \{(0,1)\} ┃ \{(0,1),(1,1)\} ┃ (0,1,1,0) ┃ \{0,1\}
\left\{\frac{1}{2}, 2\right\} ⟹ \{2,0.5\} ┃ \frac12,2 ┃ 2\text{ or }\frac12 ┃ \{1/2, 2\} ┃ x=2\text{ or }x=\frac12 ┃ x_1=\frac12, x_2=2 ┃ x = \frac{1}{2}, \ 2 ≠≠ \{\frac12\} ┃ \{2\} ┃ \{\frac12,-2\} ┃ \frac{1}{2,2} ┃ 2.5 ┃ [\frac12,2]
""",
    "tuples": r"""
(3, -4) ⟹ \left(3,-4\right) ┃ ( 3 , -4 ) ┃ (x,y)=(3,-4) ┃ x=3, y=-4 ┃ x=3,\ y=-4 ┃ (3.0,-4) ┃ x=3\text{ and }y=-4 ┃ \boxed{(3,-4)} ┃ \text{(3, -4)} ┃ \left( 3, -4 \right) ┃ (3;-4) ≠≠ (-4,3) ┃ (3,4) ┃ (-3,-4) ┃ (3,-4,0) ┃ 3 ┃ -4 ┃ [3,-4] ┃ \{3,-4\} ┃ x=-4,y=3 ┃ (3,-4]
\left(\frac{1}{2}, -\frac{3}{4}, 0\right) ⟹ (0.5,-0.75,0) ┃ (1/2,-3/4,0) ┃ \left(\tfrac12,-\tfrac34,0\right) ┃ (x,y,z)=\left(\frac12,-\frac34,0\right) ┃ x=\frac12,y=-\frac34,z=0 ┃ \left( \dfrac{1}{2} , \dfrac{-3}{4} , 0 \right) ≠≠ (\frac12,\frac34,0) ┃ (-\frac34,\frac12,0) ┃ (\frac12,-\frac34) ┃ (\frac12,-\frac34,1) ┃ (0,\frac12,-\frac34)
(0,0) ⟹ (0, 0) ┃ x=0, y=0 ┃ (x,y)=(0,0) ┃ (0.0,0) ┃ \left(0,0\right) ≠≠ (0,1) ┃ 0 ┃ (0,0,0) ┃ \{0\}
(a+1, b) ⟹ (1+a,b) ┃ (a+1,b) ┃ \left(a+1,b\right) ≠≠ (a,b+1) ┃ (a-1,b) ┃ (b,a+1) ┃ a+1
(2, -1, 3) ⟹ (2,-1,3) ┃ \left(2,-1,3\right) ┃ x=2,\,y=-1,\,z=3 ┃ (x, y, z) = (2, -1, 3) ┃ \boxed{(2,-1,3)} ┃ (2.0,-1.0,3.0) ≠≠ (2,1,3) ┃ (-1,2,3) ┃ (2,-1) ┃ 2,-1,4 ┃ (2,-1,3,0) ┃ x=2,y=-1,z=4
(r,\theta)=\left(2,\frac{\pi}{6}\right) ⟹ \left(2,\frac{\pi}{6}\right) ┃ (2,\pi/6) ┃ r=2,\theta=\frac{\pi}{6} ┃ (r,\theta)=(2,\pi/6) ≠≠ (2,\frac{\pi}{3}) ┃ (\frac{\pi}{6},2) ┃ (-2,\frac{\pi}{6}) ┃ (2,6)
""",
    "lists": r"""
2, 3 \text{ and } 5 ⟹ 2,3,5 ┃ 5,3,2 ┃ 2, 3, \text{ and } 5 ┃ 2\text{ and }3\text{ and }5 ┃ \{2,3,5\} ┃ 2,3,\text{and }5 ┃ 2;3;5 ≠≠ 2,3 ┃ 2,3,6 ┃ 2,3,5,7 ┃ 2 ┃ 10 ┃ 2,3,-5
(1,2), (3,4) ⟹ (3,4),(1,2) ┃ \{(1,2),(3,4)\} ┃ (1,2)\text{ and }(3,4) ┃ (1, 2) ; (3, 4) ┃ (x,y)=(1,2),(3,4) ┃ (1,2) \text{ or } (3,4) ┃ \boxed{(1,2)}, \boxed{(3,4)} ≠≠ (2,1),(3,4) ┃ (1,2) ┃ (1,2,3,4) ┃ (1,2),(4,3) ┃ (1,3),(2,4)
-1, \frac{1}{2}, 3 ⟹ -1,0.5,3 ┃ 3,\frac12,-1 ┃ \{-1,1/2,3\} ┃ x=-1, \frac12, 3 ┃ x=-1, x=\frac12, x=3 ┃ -1, \frac{1}{2}, \text{ and } 3 ┃ x = -1 \text{ or } x=\frac{1}{2} \text{ or } x = 3 ┃ \boxed{-1}, \boxed{\frac12}, \boxed{3} ┃ 3, .5, -1 ≠≠ 1,\frac12,3 ┃ -1,\frac12 ┃ -1,2,3 ┃ -1,\frac13,3 ┃ -1,\frac{1}{2},3,4
0, 1, 2 ⟹ 0,1,2 ┃ \{0,1,2\} ┃ 2,1,0 ┃ 0, 1, 2. ┃ 0 , 1 , 2 ┃ n\in\{0,1,2\} ┃ n=0,1,2 ┃ 0,1\text{ or }2 ≠≠ 0,1 ┃ 012 ┃ 0,1,2,3 ┃ 1,2 ┃ (0,2)
\boxed{2} \text{ and } \boxed{5} ⟹ 2,5 ┃ \boxed{5}, \boxed{2} ┃ 2\text{ and }5 ┃ \{2,5\} ≠≠ 2 ┃ 5 ┃ 2,6 ┃ 7
x=1, y=2 ⟹ (1,2) ┃ x=1\text{ and }y=2 ┃ y=2,x=1 ┃ x=1,\quad y=2 ┃ \begin{cases}x=1\\y=2\end{cases} ┃ x = 1, \text{ } y = 2 ┃ \begin{aligned}x&=1\\y&=2\end{aligned} ┃ (x,y) = (1,2) ┃ x=1; y=2 ≠≠ x=2,y=1 ┃ (2,1) ┃ x=1 ┃ x=1,y=3 ┃ x=1,z=2
3\sqrt{2}, -3\sqrt{2} ⟹ \pm3\sqrt2 ┃ -3\sqrt{2},3\sqrt{2} ┃ \pm\sqrt{18} ┃ \{-3\sqrt2,3\sqrt2\} ≠≠ 3\sqrt2 ┃ \pm2\sqrt3 ┃ 3\sqrt2,-2\sqrt3
\{-2, 0, 2\} ⟹ \{0,\pm2\} ┃ 0,\pm2 ┃ x=0,\pm 2 ┃ -2,0,2 ┃ x\in\{-2,0,2\} ┃ 0,-2,2 ┃ \{ 2, 0, -2 \} ┃ x=-2, x=0, x=2 ┃ -2, 0, \text{ or } 2 ┃ 0\text{ and }\pm2 ≠≠ \pm2 ┃ \{-2,2\} ┃ \{0,2\} ┃ \{-2,0,3\} ┃ (-2,2) ┃ [-2,2]
(1,-1), (-1,1) ⟹ (-1,1),(1,-1) ┃ \{(1,-1),(-1,1)\} ┃ (1, -1) \text{ and } (-1, 1) ┃ (x,y)=(1,-1),(-1,1) ┃ (x,y)=(1,-1)\text{ or }(-1,1) ┃ x=1,y=-1; x=-1,y=1 ┃ (\pm1,\mp1) ≠≠ (1,1),(-1,-1) ┃ (1,-1) ┃ (1,-1),(-1,-1) ┃ (1,-1,-1,1)
""",
    "equations": r"""
x = 7 ⟹ 7 ┃ x=7.0 ┃ x = 7 ┃ 7 = x ┃ x=\frac{14}{2} ┃ x\;=\;7 ≠≠ y=7 ┃ x=8 ┃ x>7 ┃ x\ne7 ┃ -7 ┃ 2x=7
a=1, b=2, c=3 ⟹ a=1,b=2,c=3 ┃ c=3,b=2,a=1 ┃ (1,2,3) ┃ (a,b,c)=(1,2,3) ┃ a=1;b=2;c=3 ┃ a = 1,\quad b = 2,\quad c = 3 ┃ a=1, b=2\text{ and }c=3 ≠≠ a=2,b=1,c=3 ┃ (1,3,2) ┃ a=1,b=2 ┃ a=1,b=2,c=4 ┃ x=1,y=2,z=4
y = 2x + 3 ⟹ y=2x+3 ┃ 2x-y+3=0 ┃ y-2x=3 ┃ y-3=2x ┃ 2x+3=y ┃ y=3+2x ┃ f(x)=2x+3 ┃ -2x+y=3 ┃ y - 2x - 3 = 0 ┃ 2x+3 ≠≠ y=2x-3 ┃ y=3x+2 ┃ x=2y+3 ┃ y=2x ┃ y=-2x+3 ┃ y<2x+3 ┃ y=2z+3
x^2+y^2=25 ⟹ y^2+x^2=25 ┃ x^2+y^2-25=0 ┃ 25=x^2+y^2 ┃ 2x^2+2y^2=50 ┃ x^{2}+y^{2}=5^2 ┃ \frac{x^2}{25}+\frac{y^2}{25}=1 ≠≠ x^2+y^2=5 ┃ x^2-y^2=25 ┃ x^2+y^2 ┃ 25 ┃ x^2+y^2=-25 ┃ x^2+y^2<25 ┃ a^2+b^2=25
\frac{x^2}{9}+\frac{y^2}{4}=1 ⟹ 4x^2+9y^2=36 ┃ \frac{y^2}{4}+\frac{x^2}{9}=1 ┃ x^2/9+y^2/4=1 ┃ \frac{x^{2}}{3^2}+\frac{y^{2}}{2^2}=1 ≠≠ \frac{x^2}{4}+\frac{y^2}{9}=1 ┃ \frac{x^2}{9}-\frac{y^2}{4}=1 ┃ 4x^2+9y^2=1
3x - 4y + 12 = 0 ⟹ 3x-4y=-12 ┃ y=\frac34x+3 ┃ 4y=3x+12 ┃ -3x+4y-12=0 ┃ 6x-8y+24=0 ┃ 4y - 3x = 12 ┃ 4y-3x-12=0 ≠≠ 3x+4y+12=0 ┃ 3x-4y-12=0 ┃ 4x-3y+12=0 ┃ 3x-4y+12 ┃ 3x-4y=12
(x-1)^2+(y+2)^2=9 ⟹ (y+2)^2+(x-1)^2=9 ┃ x^2+y^2-2x+4y-4=0 ┃ (x-1)^2+(y+2)^2=3^2 ┃ \left(x-1\right)^2+\left(y+2\right)^2=9 ┃ 9=(x-1)^2+(y+2)^2 ≠≠ (x-1)^2+(y+2)^2=3 ┃ (x-1)^2-(y+2)^2=9 ┃ (1,-2)
y^2=4x ⟹ y^2 = 4x ┃ 4x=y^2 ┃ x=\frac{y^2}{4} ┃ y^{2}-4x=0 ≠≠ x^2=4y ┃ y=4x ┃ y^2=-4x ┃ y^2=2x ┃ y=2\sqrt x
a^2+b^2=c^2 ⟹ c^2=a^2+b^2 ┃ b^2+a^2=c^2 ┃ c^2-a^2-b^2=0 ≠≠ a^2-b^2=c^2 ┃ a^2+b^2 ┃ a+b=c
xy=6 ⟹ yx=6 ┃ xy-6=0 ┃ y=\frac6x ┃ 6=xy ≠≠ xy=-6 ┃ x+y=6 ┃ \frac{x}{y}=6
y = x^2 - 4x + 3 ⟹ y=(x-1)(x-3) ┃ y=x^2-4x+3 ┃ y=(x-2)^2-1 ┃ y-3=x^2-4x ┃ y+1=(x-2)^2 ┃ x^2-4x+3-y=0 ┃ f(x)=x^2-4x+3 ┃ x^2-4x+3=y ≠≠ y=x^2+4x+3 ┃ y=(x+2)^2-1 ┃ x=y^2-4y+3 ┃ y=x^2-4x ┃ -y=x^2-4x+3 ┃ y>x^2-4x+3
x+y+z=1 ⟹ z+x+y=1 ┃ x+y+z-1=0 ┃ 1=x+y+z ┃ -x-y-z=-1 ≠≠ x+y-z=1 ┃ x+y=1 ┃ x+y+z=0 ┃ x+y+z ┃ 1
x = 2y ⟹ x=2y ┃ y=\frac{x}{2} ┃ x-2y=0 ┃ 2y=x ┃ y=\frac12x ≠≠ y=2x ┃ x=2 ┃ x=-2y ┃ x=2z
\frac{x}{a}+\frac{y}{b}=1 ⟹ bx+ay=ab ┃ \frac{y}{b}+\frac{x}{a}=1 ≠≠ \frac{x}{b}+\frac{y}{a}=1 ┃ \frac{x}{a}-\frac{y}{b}=1
d^2=(x-1)^2+y^2 ⟹ d^2=x^2-2x+1+y^2 ┃ (x-1)^2+y^2=d^2 ≠≠ d^2=(x+1)^2+y^2 ┃ d=(x-1)+y
""",
    "functions": r"""
f(x)=x^2+1 ⟹ x^2+1 ┃ y=x^2+1 ┃ f(x) = 1 + x^2 ┃ f(x)=x^{2}+1 ┃ f(x)=x\cdot x+1 ┃ f(x)=x^2+1\text{ for all }x ┃ f(x)=x^2+1 \text{ for all real } x ≠≠ f(x)=x^2-1 ┃ f(x)=x^2 ┃ f(x)=2x+1 ┃ f(x)=1 ┃ f(y)=x^2+2
f^{-1}(x) = \frac{x-1}{2} ⟹ \frac{x-1}{2} ┃ y=\frac{x-1}{2} ┃ f^{-1}(x)=\frac12(x-1) ┃ f^{-1}(x)=\frac{x}{2}-\frac12 ≠≠ 2x+1 ┃ \frac{x+1}{2} ┃ f^{-1}(x)=\frac{2}{x-1} ┃ \frac{x-1}{3}
y = -\frac{1}{2}x + 4 ⟹ y=-\frac{x}{2}+4 ┃ x+2y=8 ┃ x+2y-8=0 ┃ 2y+x=8 ┃ y=4-\frac12x ┃ y = -0.5x+4 ┃ -\frac{1}{2}x+4 ┃ y-4=-\frac12x ┃ y - 3 = -\frac12(x-2) ≠≠ y=\frac12x+4 ┃ y=-\frac12x-4 ┃ y=-2x+4 ┃ x+2y=4
P(x)=x^3-2x+1 ⟹ x^3-2x+1 ┃ (x-1)(x^2+x-1) ┃ P(x) = (x-1)(x^2+x-1) ≠≠ x^3+2x+1 ┃ P(x)=x^3-2x ┃ P(x)=x^2-2x+1
f(x)=|x| ⟹ f(x)=\left|x\right| ┃ |x| ┃ y=|x| ┃ f(x)=\lvert x\rvert ≠≠ f(x)=x ┃ f(x)=-|x| ┃ f(x)=|x|+1
a_n = 2n - 1 ⟹ a_n=2n-1 ┃ a_{n}=2n-1 ┃ 2n-1 ┃ a_n=-1+2n ≠≠ a_n=2n+1 ┃ a_n=2n ┃ b_n=2n ┃ n-1
f(x)=0 ⟹ f(x) = 0 ┃ 0 ┃ f(x)\equiv0 ┃ f(x)=0\text{ for all }x ┃ f(x) = 0 \text{ for all } x \in \mathbb{R} ≠≠ f(x)=1 ┃ f(x)=x ┃ x=1
f(x)=x \text{ and } f(x)=-x ⟹ f(x)=-x\text{ and }f(x)=x ┃ f(x)=x, f(x)=-x ┃ f(x)=x \text{ or } f(x)=-x ┃ f(x)=\pm x ≠≠ f(x)=x ┃ f(x)=-x ┃ f(x)=x\text{ and }f(x)=2x
f(x)=x+c ⟹ f(x)=c+x ┃ f(x)=x+c\text{ for some constant }c ┃ f(x) = x + c \text{ where } c \text{ is a constant} ≠≠ f(x)=x-1 ┃ f(x)=cx ┃ f(x)=c ┃ f(x)=x
g(x)=2^x ⟹ 2^x ┃ g(x)=2^{x} ┃ y=2^x ≠≠ g(x)=x^2 ┃ g(x)=2x ┃ g(x)=2^{-x}
f'(x)=3x^2 ⟹ 3x^2 ┃ f'(x) = 3x^{2} ┃ f^{\prime}(x)=3x^2 ┃ f'(x)=3x^2 ≠≠ f'(x)=3x ┃ x^3 ┃ f'(x)=2x^3
""",
    "cases": r"""
\begin{cases} x^2 & x \ge 0 \\ -x & x < 0 \end{cases} ⟹ \begin{cases}x^2&x\geq0\\-x&x<0\end{cases} ┃ f(x)=\begin{cases}x^2 & x\ge 0\\ -x & x<0\end{cases} ┃ \begin{cases} x^2, & x \ge 0 \\ -x, & x < 0 \end{cases} ┃ \begin{cases} x^2, & \text{if } x \ge 0 \\ -x, & \text{if } x < 0 \end{cases} ≠≠ \begin{cases}x^2&x<0\\-x&x\ge0\end{cases} ┃ \begin{cases}x^2&x\ge0\\x&x<0\end{cases} ┃ x^2 ┃ \begin{cases}x^2&x\ge0\end{cases}
\begin{cases} 2x+1 & \text{if } x < 1, \\ 3 & \text{otherwise.} \end{cases} ⟹ \begin{cases} 2x+1 & \text{if }x<1 \\ 3 & \text{otherwise} \end{cases} ┃ \begin{cases}2x+1, & x<1\\3,&\text{otherwise}\end{cases} ┃ f(x)=\begin{cases}1+2x&x<1\\3&\text{otherwise}\end{cases} ≠≠ \begin{cases}2x-1&x<1\\3&\text{otherwise}\end{cases} ┃ \begin{cases}2x+1&x>1\\3&\text{otherwise}\end{cases} ┃ 3
""",
    "ratios": r"""
2:3 ⟹ 2 : 3 ┃ 2\colon3 ┃ 4:6 ┃ \frac{2}{3} ┃ a:b=2:3 ┃ 2/3 ┃ 2: 3 ┃ \text{2:3} ┃ 2{:}3 ≠≠ 3:2 ┃ 2 ┃ 2:4 ┃ 2,3 ┃ -2:3 ┃ \frac32
1:2:3 ⟹ 2:4:6 ┃ 1 : 2 : 3 ┃ 1\colon 2\colon 3 ┃ a:b:c=1:2:3 ≠≠ 3:2:1 ┃ 1:2 ┃ 1:2:4 ┃ 6
\frac{V_1}{V_2}=\frac{3}{8} ⟹ \frac38 ┃ \frac{V_1}{V_2}=0.375 ┃ 3/8 ┃ 3:8 ≠≠ \frac83 ┃ 8:3
5:12 ⟹ 5 : 12 ┃ 10:24 ┃ \frac{5}{12} ┃ 5\colon12 ┃ \text{5 : 12} ┃ x:y=5:12 ≠≠ 12:5 ┃ 5:13 ┃ 5.12 ┃ 5,12 ┃ 512
""",
    "times and dates": r"""
3:45 ⟹ 3:45 ┃ 3:45 \text{ p.m.} ┃ \text{3:45} ┃ 3:45\text{ PM} ┃ 03:45 ≠≠ 3:54 ┃ 4:45 ┃ 3 ┃ 345 ┃ 3.45 ┃ 45
\text{5:30 p.m.} ⟹ 5:30\text{ p.m.} ┃ 5:30 \text{ PM} ┃ 5:30pm ┃ 5:30\,\text{pm} ┃ 17:30 ┃ 5:30 ≠≠ 5:30\text{ a.m.} ┃ 6:30\text{ p.m.} ┃ 5:03\text{ p.m.} ┃ 530
\text{March 14} ⟹ March 14 ┃ 14 March ┃ \text{March }14 ┃ \text{March 14th} ┃ \text{14 March} ≠≠ March 15 ┃ \text{May 14} ┃ 14 ┃ \text{April 14}
\text{Wednesday} ⟹ Wednesday ┃ \textbf{Wednesday} ┃ \text{wednesday} ┃ \mathrm{Wednesday} ┃ \text{ Wednesday } ≠≠ Thursday ┃ \text{Monday} ┃ 3
2:30\text{ p.m.} ⟹ 2:30 \text{ PM} ┃ 2:30 ┃ \text{2:30 p.m.} ┃ 2\!:\!30\text{ p.m.} ┃ 14:30 ┃ 2:30\mbox{ p.m.} ┃ 2{:}30 \text{ pm} ≠≠ 2:30\text{ a.m.} ┃ 3:30\text{ p.m.} ┃ 2:03\text{ p.m.} ┃ 2.30 ┃ 230
""",
    "doubled backslashes": r"""
(-\infty, -1) \cup (2, \infty) ⟹ (-\\infty, -1) \\cup (2, \\infty) ┃ \\left(-\\infty,-1\\right)\\cup\\left(2,\\infty\\right) ┃ x<-1 \\text{ or } x>2 ≠≠ (-\\infty, -1] \\cup (2, \\infty)
\begin{pmatrix}2\\-1\end{pmatrix} ⟹ \\begin{pmatrix}2\\\\-1\\end{pmatrix} ┃ \begin{pmatrix}2\\-1\end{pmatrix} ┃ \begin{pmatrix}2 \\ -1\\ \end{pmatrix} ≠≠ \\begin{pmatrix}2\\\\1\\end{pmatrix}
2\pi r^2 ⟹ 2\\pi r^2 ┃ 2\pi r^{2} ┃ 2 \pi r^2 ┃ 2r^2\pi ┃ 2*pi*r^2 ┃ 2πr² ≠≠ 2\pi r ┃ \pi r^2 ┃ 2\pi R^2 ┃ 2\pi+r^2 ┃ 4\pi r^2
\{1,2\} ⟹ \\{1,2\\} ┃ \\left\\{1,2\\right\\} ≠≠ \\{1,3\\}
""",
    "units": r"""
\$3.50 ⟹ 3.5 ┃ \$3.50 ┃ 3.50 ┃ 3.50\text{ dollars} ┃ \text{\$}3.50 ┃ \$ 3.50 ≠≠ \$3.05 ┃ \$35.0 ┃ \$-3.50 ┃ 350
\$1,500 ⟹ 1500 ┃ \$1500 ┃ \$1{,}500 ┃ 1,500\text{ dollars} ┃ \$1500.00 ┃ 1500\ \text{USD} ≠≠ \$150 ┃ \$15,000 ┃ \$1,501
15\text{ cm}^2 ⟹ 15 ┃ 15\mbox{ cm}^2 ┃ 15\,\text{cm}^2 ┃ 15\text{ cm}^{2} ┃ 15\ \mathrm{cm}^2 ┃ 15~\text{cm}^2 ┃ 15 cm^2 ┃ 15\text{ square centimeters} ┃ 15 \text{ cm²} ┃ 15\textrm{ cm}^2 ┃ 15 {\rm cm}^2 ┃ 15\,\mathrm{cm^2} ┃ 15\text{ sq cm} ≠≠ 15\text{ cm} ┃ 15\text{ m}^2 ┃ 15\text{ cm}^3 ┃ 51\text{ cm}^2 ┃ -15\text{ cm}^2 ┃ 15x\text{ cm}^2
9.8\text{ m/s}^2 ⟹ 9.8 ┃ 9.8\frac{\text{m}}{\text{s}^2} ┃ 9.8\,\mathrm{m/s^2} ┃ 9.8\ \mathrm{m\,s^{-2}} ┃ 9.8 m/s^2 ┃ 9.8\text{ m}/\text{s}^2 ┃ 9.8 \text{ meters per second squared} ┃ 9.80\text{ m/s}^2 ┃ 9.8\mathrm{~m/s^{2}} ┃ 9.8\mathrm{~m}/\mathrm{s}^{2} ┃ 9.8\text{ m}\cdot\text{s}^{-2} ≠≠ 9.8\text{ m/s} ┃ 9.8\text{ km/s}^2 ┃ 9.9\text{ m/s}^2 ┃ 98
60\text{ km/h} ⟹ 60 ┃ 60\frac{\text{km}}{\text{h}} ┃ 60\,\mathrm{km/h} ┃ 60 km/hr ┃ 60\text{ km per hour} ┃ 60 \text{ kilometers per hour} ┃ 60\text{ kph} ≠≠ 60\text{ m/s} ┃ 60\text{ km} ┃ 60\text{ h} ┃ 6\text{ km/h} ┃ 60\text{ mph}
72\text{ inches} ⟹ 72 ┃ 72\text{ in} ┃ 6\text{ feet} ┃ 72\text{ in.} ┃ 6\text{ ft} ┃ 72\text{ inch} ┃ 72\textbf{ inches} ≠≠ 72\text{ feet} ┃ 6\text{ inches} ┃ 72\text{ cm}
4\pi\text{ cm}^3 ⟹ 4\pi ┃ 4\pi\,\text{cm}^3 ┃ 4\pi\text{ cubic centimeters} ┃ 4\pi \mathrm{cm}^3 ┃ 4 \pi \ \text{cm}^3 ≠≠ 4 ┃ 4\pi\text{ cm}^2 ┃ \pi\text{ cm}^3 ┃ 4\pi\text{ m}^3
25\text{ m}^3 ⟹ 25 m^3 ┃ 25\,\text{m}^3 ┃ 25\text{ cubic meters} ┃ 25 ≠≠ 25\text{ m}^2 ┃ 25\text{ m} ┃ 25\text{ L}
8\text{ apples} ⟹ 8 ┃ 8\text{ apples} ┃ 8 apples ┃ \text{8 apples} ┃ 8\ \text{apples} ≠≠ 9\text{ apples} ┃ \text{apples} ┃ 8\text{ cm} ┃ 8\text{ million}
3.0\times10^8\text{ m/s} ⟹ 3\times10^8 ┃ 3.0 \times 10^{8} \mathrm{~m} / \mathrm{s} ┃ 3e8\text{ m/s} ┃ 300000000\text{ m/s} ┃ 3\times 10^5\text{ km/s} ≠≠ 3\times10^7\text{ m/s} ┃ 3\times10^8\text{ km/s} ┃ 3\times10^{-8}
2\text{ hours} ⟹ 2 ┃ 120\text{ minutes} ┃ 2\text{ hrs} ┃ 2 h ┃ 2\,\text{hours} ┃ 2\text{ hr} ┃ 7200\text{ seconds} ≠≠ 2\text{ minutes} ┃ 2\text{ days} ┃ 120 ┃ -2
5\Omega ⟹ 5\ \Omega ┃ 5\,\Omega ┃ 5 Ω ┃ 5 ┃ 5\text{ ohms} ┃ 5\text{ }\Omega ≠≠ 6\Omega ┃ 5\text{ V}
100^\circ\text{C} ⟹ 100^\circ C ┃ 100^{\circ}\mathrm{C} ┃ 100°C ┃ 100 ┃ 100\text{ degrees Celsius} ┃ 100\,^\circ\text{C} ┃ 100^\circ ≠≠ 100^\circ\text{F} ┃ 10^\circ C ┃ -100^\circ C
3\text{ m} ⟹ 3\,\text{m} ┃ 3\mathrm{m} ┃ 3 \mathrm{~m} ┃ 3 m ┃ 3 ┃ 300\text{ cm} ┃ 3\text{ meters} ┃ 3\text{m} ┃ 3\ \text{m} ┃ 3.0\text{ m} ≠≠ 3\text{ cm} ┃ 3\text{ km} ┃ 3\text{ m}^2 ┃ 4\text{ m} ┃ 30\text{ m} ┃ 3\text{ s}
250\text{ mL} ⟹ 250\text{ ml} ┃ 0.25\text{ L} ┃ 250\,\mathrm{mL} ┃ \frac14\text{ L} ┃ 250 ┃ 250\text{ milliliters} ≠≠ 250\text{ L} ┃ 2.5\text{ L} ┃ 25\text{ mL}
\frac{1}{2}\text{ hour} ⟹ 0.5\text{ hours} ┃ 30\text{ minutes} ┃ \frac12 ┃ \frac{1}{2} \text{ hr} ┃ \frac12\text{ h} ≠≠ 30\text{ hours} ┃ \frac12\text{ minute} ┃ 2\text{ hours}
12\pi\text{ square units} ⟹ 12\pi ┃ 12\pi\text{ units}^2 ┃ 12\pi \text{ sq. units} ┃ 12\pi\,\text{units}^2 ≠≠ 12 ┃ 21\pi ┃ 12\pi^2 ┃ \pi
45\text{ mph} ⟹ 45 ┃ 45\text{ miles per hour} ┃ 45\frac{\text{mi}}{\text{h}} ┃ 45 mph ┃ 45\text{ miles/hour} ≠≠ 45\text{ km/h} ┃ 54\text{ mph}
6\text{ units} ⟹ 6 ┃ 6 units ┃ 6\text{ units}. ┃ 6 \mbox{ units} ┃ 6 \text{ cm} ≠≠ 6\text{ million units} ┃ 5\text{ units} ┃ 60
\$12.50 ⟹ 12.50 ┃ \$12.5 ┃ 12.5\text{ dollars} ┃ \text{\$12.50} ┃ \$12.50. ┃ \$ 12.50 ┃ 12.50 \text{ USD} ┃ \$12{.}50 ≠≠ \$12.05 ┃ \$125.0 ┃ \$1250 ┃ -\$12.50
340\text{ m/s} ⟹ 340 ┃ 340\,\mathrm{m/s} ┃ 340\ \mathrm{m\cdot s^{-1}} ┃ 340\text{ meters per second} ┃ 0.34\text{ km/s} ┃ 340\,\frac{\mathrm{m}}{\mathrm{s}} ┃ 340 m/s ┃ 340 \,\text{m}\,\text{s}^{-1} ≠≠ 340\text{ km/s} ┃ 34\text{ m/s} ┃ 340\text{ m} ┃ 340\text{ s} ┃ 340\text{ m/s}^2
25\text{ N} ⟹ 25\,\text{N} ┃ 25\mathrm{N} ┃ 25\mathrm{~N} ┃ 25\text{ newtons} ┃ 25 N ┃ 25 ┃ 0.025\text{ kN} ≠≠ 25\text{ kN} ┃ 52\text{ N} ┃ 25\text{ J} ┃ 25\text{ kg} ┃ -25\text{ N}
8.314\text{ J/(mol K)} ⟹ 8.314\,\mathrm{J/(mol\cdot K)} ┃ 8.314 ┃ 8.314 \frac{\text{J}}{\text{mol}\cdot\text{K}} ┃ 8.314\text{ J mol}^{-1}\text{K}^{-1} ┃ 8.314\text{ J/(mol K)} ≠≠ 8.314\text{ J} ┃ 8.31\text{ kJ/(mol K)} ┃ 8.413
1000\text{ kg/m}^3 ⟹ 1000 ┃ 1\text{ g/cm}^3 ┃ 1000\,\mathrm{kg\,m^{-3}} ┃ 10^3\text{ kg/m}^3 ┃ 1000\frac{\text{kg}}{\text{m}^3} ≠≠ 1000\text{ g/m}^3 ┃ 100\text{ kg/m}^3 ┃ 1000\text{ kg} ┃ 1000\text{ kg/m}^2
5\text{ hours and }30\text{ minutes} ⟹ 5.5\text{ hours} ┃ 330\text{ minutes} ┃ 5\text{ h }30\text{ min} ┃ 5\frac12\text{ hours} ┃ 5\text{ hours }30\text{ minutes} ┃ 5 hours and 30 minutes ┃ 5\text{ hours, }30\text{ minutes} ≠≠ 5\text{ hours} ┃ 30\text{ minutes} ┃ 5 ┃ 30 ┃ 5\text{ hours and }20\text{ minutes} ┃ 35
""",
    "bases": r"""
101_2 ⟹ 101_{2} ┃ 101_2 ┃ 101_{\text{2}} ┃ 101_{two} ┃ 101_{\text{two}} ┃ (101)_2 ┃ 101_{(2)} ┃ 101\text{ (base 2)} ┃ 101\text{ base }2 ≠≠ 5 ┃ 101 ┃ 101_3 ┃ 110_2 ┃ 101_{10} ┃ 1010_2
2A_{16} ⟹ 2A_{16} ┃ \text{2A}_{16} ┃ 2a_{16} ┃ (2A)_{16} ┃ \mathrm{2A}_{16} ≠≠ 2B_{16} ┃ 42 ┃ 2A_{15} ┃ 2_{16}
34_5 ⟹ 34_{5} ┃ 34_{\text{five}} ┃ n=34_5 ≠≠ 34 ┃ 19 ┃ 34_6 ┃ 43_5
1101_{2} ⟹ 1101_2 ┃ 1101_{\text{two}} ┃ {1101}_2 ┃ {1101}_{2} ┃ x=1101_2 ┃ 1101_{\mathrm{two}} ┃ 1101 \text{ (base 2)} ≠≠ 1101 ┃ 13 ┃ 1101_3 ┃ 1011_2 ┃ 1101_{12}
3AF_{16} ⟹ 3AF_{16} ┃ 3af_{16} ┃ 3AF_{\text{16}} ≠≠ 3AE_{16} ┃ 943 ┃ 3AF ┃ 3AF_{17}
220_3 ⟹ 220_{3} ┃ 220_{\text{three}} ┃ (220)_3 ┃ N=220_3 ≠≠ 24 ┃ 220 ┃ 221_3 ┃ 220_4 ┃ 22_3
""",
    "approximations": r"""
\frac{7}{3} ⟹ \frac{7}{3}\approx2.33 ┃ x=\frac73\approx 2.33 ┃ 2\frac13 ┃ \frac{7}{3} \approx 2.333 ┃ 2.333333333 ┃ 7\div3 ≠≠ \approx2.33 ┃ 2.33 ┃ \frac{3}{7} ┃ \frac{7}{3}+1 ┃ 2
10\sqrt{2} \approx 14.14 ⟹ 10\sqrt{2} ┃ 10\sqrt2\approx14.1 ┃ \sqrt{200} ≠≠ \sqrt{20} ┃ 10 ┃ 2\sqrt{10} ┃ 14\sqrt2
3.14 ⟹ \approx 3.14 ┃ 3.14 ┃ \sim3.14 ┃ x\approx3.14 ┃ 3.140 ┃ \frac{157}{50} ┃ ≈3.14 ┃ x = 3.14 ≠≠ 3.15 ┃ \pi ┃ 31.4 ┃ -3.14 ┃ 3.1
""",
    "texts": r"""
\text{even} ⟹ even ┃ \text{Even} ┃ \textbf{even} ┃ \mathrm{even} ┃ \mbox{even} ┃ \textit{even} ┃ \text{ even} ┃ \operatorname{even} ≠≠ odd ┃ \text{odd} ┃ \text{not even} ┃ 2
\text{no solution} ⟹ no solution ┃ \text{No solution} ┃ \text{No solution.} ┃ \mbox{no solution} ┃ \textbf{No solution} ≠≠ \text{one solution} ┃ 0 ┃ 1 ┃ \text{solution}
\text{undefined} ⟹ undefined ┃ \text{Undefined} ┃ \mathrm{undefined} ≠≠ 0 ┃ \infty ┃ \text{defined}
\text{Yes} ⟹ yes ┃ \text{yes} ┃ Yes ┃ \textbf{YES} ┃ YES. ≠≠ no ┃ \text{No} ┃ y ┃ \text{Yes and no}
\text{Alice, Bob, Carol} ⟹ \text{Alice, Bob, Carol} ┃ Alice, Bob, Carol ┃ \text{Alice}, \text{Bob}, \text{Carol} ≠≠ \text{Alice, Bob} ┃ \text{Alice, Bob, Dave}
\text{(A)} ⟹ A ┃ (A) ┃ \text{A} ┃ \textbf{(A)} ┃ \mathrm{(A)} ┃ \text{(A)} ┃ \textbf{A} ┃ (\text{A}) ≠≠ B ┃ (B) ┃ \text{(C)} ┃ \text{A or B} ┃ AB
C ⟹ \text{C} ┃ (C) ┃ \mathbf{C} ┃ \boxed{C} ┃ \textbf{(C)} ┃ \textbf{(C) } ≠≠ D ┃ \text{D} ┃ E
\textbf{(D) } 12 ⟹ \textbf{(D)}\ 12 ┃ (D) 12 ┃ \text{(D) }12 ≠≠ (D) 13 ┃ 13
\text{Friday} ⟹ \textbf{Friday} ┃ Friday ┃ \text{Friday}. ┃ \mathrm{Friday} ┃ \textit{Friday} ┃ {\text{Friday}} ≠≠ \text{Thursday} ┃ F ┃ \text{not Friday} ┃ \text{Friday or Monday}
\text{isosceles right triangle} ⟹ isosceles right triangle ┃ \text{Isosceles right triangle} ┃ \text{an isosceles right triangle} ┃ \text{isosceles }\text{right }\text{triangle} ≠≠ \text{right triangle} ┃ \text{isosceles triangle} ┃ \text{equilateral triangle}
\text{hyperbola} ⟹ \text{Hyperbola} ┃ hyperbola ┃ \text{a hyperbola} ┃ \mathrm{hyperbola} ≠≠ \text{parabola} ┃ \text{ellipse} ┃ x^2-y^2=1
ABCD ⟹ \text{ABCD} ┃ ABCD ≠≠ ABDC ┃ ABC ┃ A
\triangle ABC ⟹ \triangle ABC ┃ \triangle{ABC} ┃ \triangle  ABC ≠≠ \triangle ABD ┃ \angle ABC
\text{Mercury, Venus, Earth} ⟹ \text{Mercury, Venus, Earth} ┃ \text{Mercury}, \text{Venus}, \text{Earth} ≠≠ \text{Mercury, Venus} ┃ \text{Mercury, Venus, Mars}
\text{false} ⟹ False ┃ \text{False} ┃ false ┃ \textbf{false} ┃ \mathrm{false} ≠≠ true ┃ \text{True} ┃ 0 ┃ \text{not false}
\text{(C)} ⟹ C ┃ \textbf{C} ┃ (C) ┃ \text{C} ┃ \boxed{\text{(C)}} ┃ \mathbf{(C)} ≠≠ (D) ┃ \text{A} ┃ \text{(B)} ┃ c+1
\text{none} ⟹ none ┃ \text{None} ┃ None. ≠≠ 0 ┃ one ┃ \text{some}
\text{DNE} ⟹ DNE ┃ \mathrm{DNE} ┃ \text{DNE}. ≠≠ 0 ┃ \infty
""",
    "missing braces": r"""
\sqrt{3} ⟹ \sqrt3 ┃ {\sqrt{3}} ┃ \sqrt 3 ┃ {{\sqrt{3}}} ≠≠ 3 ┃ \sqrt{33}
10^{-3} ⟹ 10^-3 ┃ 0.001 ┃ \frac{1}{1000} ┃ 1\times10^{-3} ┃ 10^{-3} ┃ 1e-3 ┃ \frac{1}{10^3} ┃ 10^{- 3} ≠≠ 10^3 ┃ 10-3 ┃ 10^{-2} ┃ 7 ┃ -1000 ┃ 0.0001
\frac{x}{2} ⟹ \frac x2 ┃ \frac{x}2 ┃ \frac x{2} ┃ x/2 ┃ \frac12x ┃ 0.5x ┃ \frac{1}{2}x ┃ \frac12 x ┃ \frac{1}{2}\cdot x ┃ \dfrac{x}{2} ≠≠ \frac2x ┃ x^2 ┃ \frac{x}{3} ┃ 2x ┃ \frac{y}{2} ┃ x
x^{n+1} ⟹ x^{1+n} ┃ x\cdot x^n ┃ x^{n + 1} ≠≠ x^n+1 ┃ x^{n-1} ┃ x^n
""",
    "worked solutions": r"""
The area is $\frac12\cdot 6\cdot 4 = \boxed{12}$ square units. ⟹ 12 ┃ 12\text{ square units} ┃ 12.0 ≠≠ 6 ┃ 4 ┃ 24 ┃ \frac12
Let $x$ be the side. Then $x^2=49$, so $x=7$ and the perimeter is $4\cdot7=\boxed{28}$. ⟹ 28 ┃ 28.0 ┃ 28\text{ cm} ≠≠ 7 ┃ 49 ┃ 4
\[x = \boxed{\frac{5\pi}{6}}.\] ⟹ \frac{5\pi}{6} ┃ \frac56\pi ┃ 5\pi/6 ≠≠ \frac{\pi}{6} ┃ \frac56
Adding the equations gives $2x = 10$.  Therefore, $(x,y) = \boxed{(5,-2)}$. ⟹ (5,-2) ┃ x=5,y=-2 ≠≠ (-2,5) ┃ 5 ┃ (5,2)
""",
    "numbers in every dress": r"""
6 ⟹ 2\cdot3=6 ┃ x+1=5+1=6 ┃ \frac{12}{2}=6 ┃ f(2)=6 ┃ |{-6}|=6 ┃ \sqrt{36}=6 ┃ 6=6 ┃ n=6\text{.} ┃ \mathbf{6} ┃ \textbf{6} ┃ \underline{6} ┃ {6} ┃ 6\\ ┃ 6 \, ┃ 6\; ┃ \quad 6 ┃ +6 ┃ 6. ┃ 6, ┃ \;6\; ┃ 6 \text{ } ≠≠ 2\cdot3=7 ┃ 6=x+1 ┃ 6x=6 ┃ 66 ┃ \frac16 ┃ 6! ┃ 6i ┃ -6 ┃ 6^2 ┃ \sqrt6 ┃ 6\pi ┃ x^6 ┃ 6,7 ┃ \{6,7\} ┃ 5\text{ or }6 ┃ >6 ┃ \ge6 ┃ \ne 6 ┃ 6+ ┃ 6x ┃ \log 6 ┃ 60 ┃ x_6 ┃ (6,6) ┃ 6:2
""",
    "multiples of pi": r"""
36\pi-72 ⟹ 36 \pi - 72 ┃ -72+36\pi ┃ 36(\pi-2) ┃ 36\cdot\pi-72 ┃ 36π−72 ┃ 36*pi-72 ≠≠ 36\pi+72 ┃ 72-36\pi ┃ 36-72\pi ┃ -36\pi ┃ 36\pi
\frac{500\pi}{3} ⟹ \frac{500}{3}\pi ┃ 500\pi/3 ┃ 166\frac23\pi ┃ \frac{500\pi}{3}\text{ cubic inches} ┃ \frac{500\cdot\pi}{3} ┃ \dfrac{500 \pi}{3} ≠≠ \frac{500}{3} ┃ \frac{500\pi}{2} ┃ 500\pi ┃ 523.6
""",
}
ROWS = [(kind, *line.split(" ⟹ ")) for kind, table in TABLES.items() for line in table.strip().split("\n")]


def score(answer: str, gold: str) -> float:
    rollout = Case(answer if "\\boxed" in answer else f"\\boxed{{{answer}}}", gold).rollout()
    return math.verify(rollout.prompt, rollout).score


@pytest.mark.parametrize(("gold", "answers"), [row[1:] for row in ROWS], ids=[f"{row[0]}: {row[1]}" for row in ROWS])
def test_an_answer_equals_its_gold_in_any_notation_and_no_near_miss(gold: str, answers: str) -> None:
    right, wrong = (part.strip().split(" ┃ ") for part in answers.split("≠≠"))
    assert [answer for answer in right if score(answer, gold) != 1.0] == []
    assert [answer for answer in wrong if answer and score(answer, gold) != 0.0] == []


PIECES = [
    r"\frac",
    r"\frac{",
    r"}",
    r"{",
    r"\sqrt",
    r"\sqrt[3]",
    r"1",
    r"2",
    r"10",
    r"0",
    r"-3",
    r"0.5",
    r"x",
    r"y",
    r"i",
    r"e",
    r"\pi",
    r"\infty",
    r"^",
    r"^{",
    r"_{",
    r"(",
    r")",
    r"[",
    r"]",
    r"\{",
    r"\}",
    r"\left(",
    r"\right.",
    r"\begin{pmatrix}",
    r"\end{pmatrix}",
    r"&",
    r"\\",
    r"\begin{cases}",
    r"\end{cases}",
    r"\text{",
    r"\boxed{",
    r",",
    r";",
    r":",
    r"=",
    r"<",
    r">",
    r"\le",
    r"\ne",
    r"\in",
    r"\cup",
    r"\setminus",
    r"\mathbb{R}",
    r"\pm",
    r"\approx",
    r"+",
    r"-",
    r"*",
    r"/",
    r"!",
    r"\cdot",
    r"\ldots",
    r"^\circ",
    r"\%",
    r"$",
    r"\sin",
    r"\log_2",
    r"\binom",
    r"\over",
    r"\choose",
    r"\overline{3}",
    r".",
    r"1,234",
    r"3:30",
    r"pm",
    r"not",
    r"and",
    r"or",
    r"\langle",
    r"|",
    r"½",
    r"²",
    r"\\frac",
]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.sampled_from([*PIECES, " ", "\n"]), max_size=12).map("".join),
    st.sampled_from(["1/2", "(1,2)", "x^2", "3 cm"]),
)
def test_no_concatenation_of_pieces_raises_or_scores_beside_numbers(text: str, gold: str) -> None:
    assert equal(read(gold), read(text)) in (True, False)
    assert score(text, gold) in (0.0, 1.0)
