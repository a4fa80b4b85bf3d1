// Light or dark, before the first paint: what was chosen here, else what the system says. Not a module, because
// modules run after it.
(() => {
	const root = document.documentElement;
	const dark = matchMedia('(prefers-color-scheme: dark)');
	let chosen = null;
	try { chosen = localStorage.getItem('pigw.theme'); } catch { /* no storage */ }

	function show() {
		const theme = chosen || (dark.matches ? 'dark' : 'light');
		root.dataset.theme = theme;
		document.querySelector('meta[name=theme-color]').content = theme === 'dark' ? '#17181a' : '#f4f2ee';
		const button = document.getElementById('theme');
		if (button) button.lastElementChild.textContent = chosen ? (chosen === 'dark' ? 'Dark' : 'Light') : 'System';
	}

	dark.addEventListener('change', show);
	document.addEventListener('DOMContentLoaded', () => {
		document.getElementById('theme').addEventListener('click', () => {
			chosen = chosen ? (chosen === 'light' ? 'dark' : null) : 'light';
			try { if (chosen) localStorage.setItem('pigw.theme', chosen); else localStorage.removeItem('pigw.theme'); } catch { /* no storage */ }
			show();
		});
		show();
	});
	show();
})();
