// What pages do in the browser besides htmx: the theme, copying, questions before forms, keys. No data is kept but the theme.
(() => {
  const root = document.documentElement;
  const stored = localStorage.getItem('rowgate-theme');
  if (stored === 'dark' || stored === 'light') root.dataset.theme = stored;

  const say = (text) => {
    const toast = document.getElementById('toast');
    toast.textContent = text;
    setTimeout(() => { if (toast.textContent === text) toast.textContent = ''; }, 4000);
  };

  const copy = async (button) => {
    const code = button.closest('.code, .snippet').querySelector('code');
    try {
      await navigator.clipboard.writeText(code.textContent);
      say('Copied');
    } catch {
      getSelection().selectAllChildren(code);
      say('Selected: press Ctrl+C');
    }
  };

  const toggleDrawer = () => {
    const drawer = document.getElementById('drawer');
    const opener = document.querySelector('[data-drawer][aria-controls]');
    drawer.hidden = !drawer.hidden;
    opener.setAttribute('aria-expanded', String(!drawer.hidden));
    (drawer.hidden ? opener : drawer.querySelector('button')).focus();
  };

  // On a telephone the menu is wider than the screen.
  const showWhereWeAre = () => {
    const here = document.querySelector('nav [aria-current]');
    if (here) here.parentElement.scrollLeft = here.offsetLeft - (here.parentElement.clientWidth - here.clientWidth) / 2;
  };
  addEventListener('DOMContentLoaded', showWhereWeAre);
  addEventListener('resize', showWhereWeAre);

  addEventListener('click', (event) => {
    const button = event.target.closest('button');
    if (!button) return;
    if ('themeSwitch' in button.dataset) {
      const dark = root.dataset.theme ? root.dataset.theme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
      root.dataset.theme = dark ? 'light' : 'dark';
      localStorage.setItem('rowgate-theme', root.dataset.theme);
    } else if ('copy' in button.dataset) {
      copy(button);
    } else if ('drawer' in button.dataset) {
      toggleDrawer();
    } else if ('statement' in button.dataset) {
      const field = document.getElementById('statement');
      field.value = button.dataset.statement;
      field.focus();
    }
  });

  addEventListener('submit', (event) => {
    const question = event.target.dataset.confirm;
    if (question && !confirm(question)) {
      event.preventDefault();
      event.stopImmediatePropagation();
    }
  }, true);

  addEventListener('keydown', (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key === 'Enter' && event.target.form) {
      event.preventDefault();
      event.target.form.requestSubmit();
    } else if (event.key === 'Escape' && document.getElementById('drawer')?.hidden === false) {
      toggleDrawer();
    } else if (event.key === '/' && !/^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement.tagName)) {
      const field = document.querySelector('main input:not([type=hidden]), main textarea');
      if (field) { event.preventDefault(); field.focus(); }
    }
  });
})();
